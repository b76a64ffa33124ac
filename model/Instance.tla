------------------------------ MODULE Instance ------------------------------
(***************************************************************************)
(* One instance of a saga: the store's row of it, the engines that own it  *)
(* one after another, their leases, and the world in which its attempts    *)
(* have effects.  Every action names the code that it is a model of; the   *)
(* page docs/model.md has the whole map.                                   *)
(*                                                                         *)
(* Abstracted away, each so that the model allows more than the code:      *)
(*  - time.  Waits last as long as one likes; a lease ends when the model  *)
(*    says so.  What is kept of clocks is this: no attempt begins under a  *)
(*    lease that has ended by the store's clock, which is what the margin  *)
(*    of `Lease::good_for` is for, as long as a process does not stand     *)
(*    still between looking at its clock and beginning;                    *)
(*  - retry policies.  Whether a failed attempt is tried again is a choice;*)
(*  - other instances, batches, payloads, versions.  A refused output is   *)
(*    not modelled, nor are recoveries, transactional steps, and a last    *)
(*    step alone that needs no compensation (`Definition::is_exempt`);     *)
(*  - a wake-up: who gave the instance up may have it claimed at any time. *)
(***************************************************************************)
EXTENDS Naturals, FiniteSets, TLC, Graphs

CONSTANTS
  Graph,      \* the name of a graph
  OnFailure,  \* "grace", "fail_fast" (grace with a bound, too: when it drops them is a choice) or "wait_all"
  Engines,    \* processes; one that died never comes back under its name
  MaxOwners,  \* how often the instance gets an owner
  MaxLate,    \* tries of writes that are held up on their way, at a time
  MaxOps,     \* decisions of operators
  Cancels,    \* whether somebody may ask for a cancel
  Releases,   \* whether engines give the instance up
  Suspects,   \* whether a claim may postpone it, or find that it is poison
  Narrow,     \* leaves out orders of events, so that larger graphs can be searched: see Ousted and Offered
  Mutations   \* {"none"}, or what is broken, one in each behaviour: then the promises have to fail

VARIABLES
  db,      \* what is stored
  mem,     \* by number: what an owner has in memory, or Gone
  n,       \* how many owners there were
  alive,   \* engines
  leased,  \* engines with a lease, by the store's clock
  late,    \* tries of writes that may still reach the store
  world,   \* what attempts have really done
  ops,     \* decisions of operators so far
  bad,     \* promises that an action has broken
  broken   \* which of the mutations this behaviour has

vars == <<db, mem, n, alive, leased, late, world, ops, bad, broken>>

G == GraphOf(Graph)
Steps == DOMAIN G.deps
Pivot == G.pivot
Dependents == [s \in Steps |-> {d \in Steps : s \in G.deps[d]}]

RECURSIVE Below(_)
Below(s) == Dependents[s] \cup UNION {Below(d) : d \in Dependents[s]}
\* From the pivot on.
Onward == IF Pivot = None THEN {} ELSE {Pivot} \cup Below(Pivot)
Retriable == Onward \ {Pivot}
Compensated == Steps \ (Onward \cup G.noComp)

\* The undos that have to end before that of a step: `Machine::start_unwinding`.
UndoFirst == [s \in Steps |->
  IF broken = "start_order" THEN G.deps[s] ELSE Dependents[s] \cup G.after[s]]
RECURSIVE UndoBefore(_)
\* The same, as promised: through the whole graph, whatever is broken.
UndoBefore(s) == LET first == Dependents[s] \cup G.after[s]
                 IN first \cup UNION {UndoBefore(x) : x \in first}

Live == {"pending", "executing", "compensating"}
Gone == [gone |-> TRUE]
NoWrite == [none |-> TRUE]
Inst == "the instance"  \* a record of the instance itself, as `Record::Instance`

-----------------------------------------------------------------------------
(* The state machine of `sagaz-core/src/state`, as an owner has it.        *)
(* ph: the phase of each step.  "held": an attempt is to begin, and waits  *)
(* to be admitted; "running": it has begun; "ran": it has had its effect.  *)
(* eff: steps that may have had an effect.  dirty: records to be stored.   *)
(* wr: the write that is in flight.                                        *)

There(k) == mem[k] # Gone
IsRunning(phase) == phase \in {"held", "running", "ran", "undoHeld", "undoing"}
Running(m) == {s \in Steps : IsRunning(m.ph[s])}
Waiting(m) == {s \in Steps : m.ph[s] = "waiting"}
Unsaved(m) == m.dirty \cup (IF m.wr = NoWrite THEN {} ELSE m.wr.recs)
Saved(m, s) == s \notin Unsaved(m)

\* What is stored of a step: `Machine::row`.  Pending and Failed are one here: what surely had no effect.
Row(m, s) ==
  LET p == m.ph[s]
      doubt == IF s \in m.eff THEN "unknown" ELSE "clean"
      state == CASE p \in {"pending", "waiting", "gaveUp"} -> doubt
                 [] p \in {"held", "running", "ran"} -> "running"
                 [] p = "completed" -> IF m.unw THEN "compensating" ELSE "completed"
                 [] p = "failed" -> "clean"
                 [] p \in {"unknown", "doubt"} -> "unknown"
                 [] p \in {"undoHeld", "undoing"} -> "compensating"
                 [] OTHER -> p
  IN [s |-> state, out |-> p = "completed"]

\* The same when the instance is given up: `Machine::released_row`.
ReleasedRow(m, s) ==
  CASE m.ph[s] = "held" -> [s |-> IF s \in m.eff THEN "unknown" ELSE "clean", out |-> FALSE]
    [] m.ph[s] \in {"running", "ran"} -> [s |-> "unknown", out |-> FALSE]
    [] OTHER -> Row(m, s)

Unsettled(m) == {s \in Steps :
  \/ m.ph[s] = "pending" /\ s \in m.eff
  \/ m.ph[s] \in {"held", "running", "ran", "waiting", "gaveUp", "undoHeld", "undoing"}}

FinishesFirst(why) == OnFailure = "wait_all" /\ why = "step"

\* Whether steps whose dependencies are stored begin: `Machine::release_dependents`.
GoesOn(m) == \/ m.st = "executing"
             \/ m.st = "compensating" /\ ~m.res /\ ~m.unw /\ FinishesFirst(m.why)

StartReady(m) ==
  LET is(d) == m.ph[d] = "completed" /\ (Saved(m, d) \/ broken = "begin_before_stored")
      starts(s) == m.ph[s] = "pending" /\ \A d \in G.deps[s] : is(d)
  IN IF GoesOn(m)
     THEN [m EXCEPT !.ph = [s \in Steps |-> IF starts(s) THEN "held" ELSE m.ph[s]]]
     ELSE m

\* Whether the undo of a step has ended or is not needed: `StepCell::undone`.
RECURSIVE Undone(_, _)
Undone(m, s) ==
  /\ \A x \in UndoFirst[s] : Undone(m, x)
  /\ CASE m.ph[s] \in {"completed", "unknown"} -> s \notin Compensated
       [] m.ph[s] \in {"compensated", "failed"} -> Saved(m, s)
       [] OTHER -> m.ph[s] \in {"pending", "resolved"}

\* Those whose turn has come are undone: `Machine::take_turn`.
TakeTurns(m) ==
  LET turn(s) == s \in Compensated /\ \A x \in UndoFirst[s] : Undone(m, x)
      taken(s) == CASE m.ph[s] = "completed" /\ Saved(m, s) /\ turn(s) -> "undoHeld"
                    [] m.ph[s] = "unknown" /\ turn(s) ->
                         IF s \in G.insists THEN "held" ELSE "undoHeld"
                    [] OTHER -> m.ph[s]
  IN [m EXCEPT !.ph = [s \in Steps |-> taken(s)]]

Stick(m) == [m EXCEPT !.st = "stuck",
                      !.dirty = @ \cup {Inst} \cup {s \in Steps : m.ph[s] = "gaveUp"}]

\* Nothing of it is in flight, and nothing is unsaved.  Only then is anything undone.
IsAtRest(m) == Unsaved(m) = {} /\ Running(m) = {}
MayUnwind(m) == /\ m.st = "compensating" /\ ~m.unw
                /\ Unsaved(m) = {} \/ broken = "undo_before_stored"
                /\ Running(m) = {} \/ broken = "undo_in_flight"

\* `Machine::come_to_rest`, once and after unwinding has begun.
RestOnce(m) ==
  CASE ~IsAtRest(m) -> m
    [] m.st = "executing" /\ Waiting(m) = {} -> IF broken = "stands_still" THEN m ELSE Stick(m)
    [] m.st = "compensating" /\ m.unw /\ \A s \in Steps : Undone(m, s) ->
         [m EXCEPT !.st = "rolledBack", !.dirty = @ \cup {Inst}]
    [] m.st = "compensating" /\ m.unw /\ Waiting(m) = {} -> Stick(m)
    [] OTHER -> m

\* After each event: `Machine::settle`.
Settle(m) ==
  LET started == StartReady(m)
      turned == IF started.unw THEN TakeTurns(started) ELSE started
  IN RestOnce(IF MayUnwind(turned) THEN TakeTurns([turned EXCEPT !.unw = TRUE]) ELSE turned)

\* `Machine::fail`: from here on the instance is undone.
Fail(m, why) ==
  LET phase(s) ==
        CASE m.ph[s] = "waiting" -> IF s \in m.eff THEN "unknown" ELSE "failed"
          [] m.ph[s] = "pending" /\ s \in m.eff -> "unknown"
          [] OTHER -> m.ph[s]
      recorded(s) ==
        \/ m.ph[s] \in {"waiting", "failed", "unknown"}
        \/ m.ph[s] \in {"held", "running", "ran"} /\ broken # "forget_in_flight"
        \/ m.ph[s] = "pending" /\ s \in m.eff
  IN [m EXCEPT !.st = "compensating", !.why = why, !.hold = FALSE,
               !.ph = [s \in Steps |-> phase(s)],
               !.dirty = @ \cup {Inst} \cup {s \in Steps : recorded(s)}]

\* `Machine::gave_up`: the step is not attempted again.
GaveUp(m, s) ==
  LET doubtful == s \in m.eff
      phase == CASE doubtful /\ m.unw -> "doubt"
                 [] doubtful -> "unknown"
                 [] OTHER -> "failed"
      over == [m EXCEPT !.ph[s] = phase]
  IN IF s \in Retriable \/ (s = Pivot /\ doubtful) THEN [m EXCEPT !.ph[s] = "gaveUp"]
     ELSE IF m.why # "no" THEN [over EXCEPT !.dirty = @ \cup {s}]
     ELSE Fail(over, IF m.hold THEN "cancel" ELSE "step")

\* `Machine::cancel`.
Cancel(m) ==
  LET decides == /\ Pivot # None
                 /\ \/ m.ph[Pivot] \in {"held", "running", "ran"}
                    \/ m.ph[Pivot] \in {"pending", "waiting", "gaveUp"} /\ Pivot \in m.eff
  IN IF m.why # "no" \/ m.hold \/ m.passed \/ m.st # "executing" THEN m
     ELSE IF decides /\ broken # "cancel_passes_pivot" THEN [m EXCEPT !.hold = TRUE]
     ELSE Fail(m, "cancel")

\* An attempt that is held back is dropped: `Machine::drop_running`, and `cancel` for a pivot.
IsDropped(m, s) ==
  /\ m.ph[s] = "held"
  /\ \/ m.why # "no" /\ ~m.unw /\ ~FinishesFirst(m.why) /\ s # Pivot
     \/ s = Pivot /\ m.hold /\ s \notin m.eff

Payload(m, recs, steps, released) ==
  [status |-> "sent", recs |-> recs, st |-> m.st, passed |-> m.passed, why |-> m.why,
   release |-> released, sure |-> m.eng \in leased,
   rows |-> [s \in steps |-> IF released THEN ReleasedRow(m, s) ELSE Row(m, s)]]

\* A write with all that is to be stored: `Journal::flush`.
Flushed(m) == [m EXCEPT !.dirty = {}, !.wr = Payload(m, m.dirty, m.dirty \ {Inst}, FALSE)]

\* If it is narrow, nothing happens between an event and the write that tells of it.
Offered(m) == IF Narrow /\ m.wr = NoWrite /\ m.dirty # {} THEN Flushed(m) ELSE m

After(m) == Offered(Settle(m))

-----------------------------------------------------------------------------
(* What an owner begins with.                                              *)

Fresh(e, epoch, phases, effects, failed, dirty, st) ==
  [eng |-> e, epoch |-> epoch, st |-> st, passed |-> db.passed, why |-> failed,
   hold |-> FALSE, seen |-> db.cancel, unw |-> FALSE, res |-> failed # "no",
   sure |-> TRUE, ph |-> phases, eff |-> effects, dirty |-> dirty, wr |-> NoWrite]

\* `Machine::restore`, then `begin`.
Restored(e, epoch, interrupted) ==
  LET back == db.why # "no"
      stored(s) == db.rows[s].s
      settled(s) == IF db.rows[s].out THEN "completed" ELSE "unknown"
      phase(s) == CASE stored(s) = "none" -> "pending"
                    [] stored(s) = "clean" -> IF back THEN "failed" ELSE "pending"
                    [] stored(s) = "unknown" -> IF back THEN "unknown" ELSE "pending"
                    [] stored(s) = "running" -> "unknown"
                    [] stored(s) = "compensating" -> settled(s)
                    [] OTHER -> stored(s)
      wasReady(s) == \A d \in G.deps[s] : stored(d) = "completed"
      in_doubt == {s \in Steps :
        /\ interrupted /\ broken # "forget_interrupted"
        /\ ~back \/ FinishesFirst(db.why)
        /\ phase(s) = "pending" /\ wasReady(s)}
      phases == [s \in Steps |-> IF back /\ s \in in_doubt THEN "unknown" ELSE phase(s)]
      effects == in_doubt \cup {s \in Steps : stored(s) \notin {"none", "clean"}}
      state == IF back THEN "compensating" ELSE "executing"
      m == Fresh(e, epoch, phases, effects, db.why, IF back THEN in_doubt ELSE {}, state)
      cancelled == IF db.cancel THEN Cancel(m) ELSE m
      done == /\ cancelled.st = "executing"
              /\ \A s \in Steps : phases[s] = "completed"
  IN IF done THEN Offered([cancelled EXCEPT !.st = "completed", !.dirty = {Inst}])
     ELSE After(cancelled)

-----------------------------------------------------------------------------
(* What is promised of single actions.                                     *)

\* Whether the k-th owner still is the owner, by the store.
Owns(k) == db.owner = mem[k].eng /\ db.epoch = mem[k].epoch /\ k = n

Breaks(conditions) == bad' = bad \cup {c[1] : c \in {x \in conditions : x[2]}}

\* When this can still have an effect that it has not had.
MayStillAct(s) ==
  /\ s \notin world.effect /\ s \notin world.declined
  /\ s \in world.hang \/ \E k \in 1..MaxOwners : There(k) /\ mem[k].ph[s] = "running"

-----------------------------------------------------------------------------
(* Acceptance, leases, death.                                              *)

\* `Memory::accept`, `instance::admit`.  Not owned from the start: by `start_in`, or at the limit.
Accept(e) ==
  /\ db.st = "none" /\ e \in alive \cap leased
  /\ \/ /\ db' = [db EXCEPT !.st = "pending", !.owner = e, !.epoch = 1]
        /\ n' = 1
        /\ mem' = [mem EXCEPT ![1] = After(Fresh(e, 1, [s \in Steps |-> "pending"], {}, "no", {},
                                                  "executing"))]
     \/ /\ db' = [db EXCEPT !.st = "pending"]
        /\ UNCHANGED <<n, mem>>
  /\ UNCHANGED <<alive, leased, late, world, ops, bad>>

\* After a lapse nobody is sure of what he owned: `Lease::lapses`, `Journal::sure_at`.
Unsure(m) == IF m = Gone THEN m ELSE
  [m EXCEPT !.sure = FALSE,
            !.wr = IF @ = NoWrite THEN @ ELSE [@ EXCEPT !.sure = FALSE]]

\* One that owns nothing and drives nothing may as well be taken for one that is there and does nothing.
Matters(e) == db.owner = e \/ \E k \in 1..MaxOwners : There(k) /\ mem[k].eng = e

\* The lease ends by the store's clock: `Data::is_leased`.
Expire(e) ==
  /\ e \in leased /\ Matters(e)
  /\ leased' = leased \ {e}
  /\ mem' = [k \in 1..MaxOwners |-> IF There(k) /\ mem[k].eng = e THEN Unsure(mem[k]) ELSE mem[k]]
  /\ UNCHANGED <<db, n, alive, late, world, ops, bad>>

\* `lease::renew`, `Data::renew`.
Renew(e) ==
  /\ e \in alive /\ e \notin leased
  /\ leased' = leased \cup {e}
  /\ UNCHANGED <<db, mem, n, alive, late, world, ops, bad>>

\* What is in flight when an owner's memory is gone may still have its effect.
Hanging(m) == {s \in Steps : m.ph[s] = "running"} \ (world.effect \cup world.declined)

\* A try of a write that is on its way.
Try(k) == [k |-> k, eng |-> mem[k].eng, epoch |-> mem[k].epoch, wr |-> mem[k].wr]

\* The process dies.  A write that it has sent may still arrive.
Die(e) ==
  /\ e \in alive /\ alive # {e} /\ Matters(e)
  /\ alive' = alive \ {e}
  /\ LET own == {k \in 1..n : There(k) /\ mem[k].eng = e}
         sent == {k \in own : mem[k].wr # NoWrite /\ mem[k].wr.status = "sent"}
     IN /\ mem' = [k \in 1..MaxOwners |-> IF k \in own THEN Gone ELSE mem[k]]
        /\ world' = [world EXCEPT !.hang = @ \cup UNION {Hanging(mem[k]) : k \in own}]
        /\ \/ late' = late
           \/ \E k \in sent : late' = late \cup {Try(k)} /\ Cardinality(late') <= MaxLate
  /\ leased' = IF Narrow THEN leased \ {e} ELSE leased
  /\ UNCHANGED <<db, n, ops, bad>>

-----------------------------------------------------------------------------
(* Claims: `Data::claim`, `Claim::judge`.                                  *)

Orphaned == db.owner # None /\ db.owner \notin leased

\* What of the former owners is still there when a new one takes over.  If it is narrow, only what they have under way:
\* attempts that may still have their effects, and writes that may still arrive.
Ousted == {k \in 1..n : Narrow /\ There(k)}
OustedWrites == IF MaxLate = 0 THEN {} ELSE {Try(k) : k \in {x \in Ousted : mem[x].wr # NoWrite /\ mem[x].wr.status = "sent"}}

\* Where the reply of a claim was lost, `scanner::adopt` takes the instance for an interrupted one, whatever it was.
Doubts == IF Releases THEN {FALSE, TRUE} ELSE {FALSE}

Claim(e) ==
  /\ e \in alive \cap leased /\ db.st \in Live /\ n < MaxOwners
  /\ Orphaned \/ db.owner = None
  /\ LET epoch == IF broken = "same_epoch" THEN db.epoch ELSE db.epoch + 1
     IN /\ db' = [db EXCEPT !.owner = e, !.epoch = epoch, !.tk = @ \/ Orphaned]
        /\ n' = n + 1
        /\ \E doubt \in Doubts : mem' = [k \in 1..MaxOwners |->
                     IF k = n + 1 THEN Restored(e, epoch, Orphaned \/ db.tk \/ doubt)
                     ELSE IF k \in Ousted THEN Gone ELSE mem[k]]
        /\ late' = late \cup OustedWrites
        /\ world' = [world EXCEPT !.hang = @ \cup UNION {Hanging(mem[k]) : k \in Ousted}]
  /\ UNCHANGED <<alive, leased, ops, bad>>

Postpone ==
  /\ Suspects /\ db.st \in Live /\ Orphaned /\ db.tk /\ n < MaxOwners
  /\ db' = [db EXCEPT !.owner = None, !.epoch = @ + 1]
  /\ UNCHANGED <<mem, n, alive, leased, late, world, ops, bad>>

Poison ==
  /\ Suspects /\ db.st \in Live /\ (Orphaned \/ db.owner = None) /\ db.tk
  /\ db' = [db EXCEPT !.owner = None, !.epoch = @ + 1, !.st = "stuck", !.poison = TRUE]
  /\ UNCHANGED <<mem, n, alive, leased, late, world, ops, bad>>

-----------------------------------------------------------------------------
(* Those who own nothing ask: `Data::request_cancel`.                      *)

RequestCancel ==
  /\ Cancels /\ db.st \in Live /\ ~db.passed /\ ~db.cancel
  /\ db' = [db EXCEPT !.cancel = TRUE]
  /\ UNCHANGED <<mem, n, alive, leased, late, world, ops, bad>>

\* With a renewal, or the reply to a write.
SeeCancel(k) ==
  /\ There(k) /\ db.cancel /\ ~mem[k].seen /\ db.owner = mem[k].eng
  /\ mem[k].st \in Live
  /\ mem' = [mem EXCEPT ![k] = After(Cancel([mem[k] EXCEPT !.seen = TRUE]))]
  /\ UNCHANGED <<db, n, alive, leased, late, world, ops, bad>>

-----------------------------------------------------------------------------
(* Attempts: the driver, and the world outside.                            *)

Releasing(m) == m.wr # NoWrite /\ m.wr.release

\* `Journal::poll_leave`: a lease that is fresh, and an owner that is sure.
MayBegin(m) ==
  /\ m.eng \in alive \cap leased
  /\ m.sure \/ broken = "not_asked_after_a_lapse"
  /\ ~Releasing(m)

BeginStep(k, s) ==
  /\ There(k) /\ mem[k].ph[s] = "held" /\ MayBegin(mem[k]) /\ ~IsDropped(mem[k], s)
  /\ mem' = [mem EXCEPT ![k].ph[s] = "running"]
  /\ Breaks({
       <<"P7", ~Owns(k)>>,
       <<"P2", db.rows[s].out \/ \E d \in G.deps[s] : ~db.rows[d].out>>,
       <<"P4", world.turned /\ s \notin G.insists>>,
       <<"P6", s \in Retriable /\ ~db.passed>>})
  /\ UNCHANGED <<db, n, alive, leased, late, world, ops>>

\* The effect of an attempt.  Its key is the same for all attempts (P3), so a second one changes nothing; and a key that was
\* declined stays declined, which is what an author says with `permanent`.
Effect(k, s) ==
  /\ There(k) /\ mem[k].ph[s] = "running" /\ s \notin world.declined
  /\ mem' = [mem EXCEPT ![k].ph[s] = "ran"]
  /\ world' = [world EXCEPT !.effect = @ \cup {s}, !.hang = @ \ {s}]
  /\ UNCHANGED <<db, n, alive, leased, late, ops, bad>>

\* An attempt that nobody waits for any more has its effect.
LateEffect(s) ==
  /\ s \in world.hang /\ s \notin world.effect \cup world.declined
  /\ world' = [world EXCEPT !.effect = @ \cup {s}, !.hang = @ \ {s}]
  /\ UNCHANGED <<db, mem, n, alive, leased, late, ops, bad>>

Known(m, s) == IF broken = "forget_unknown" THEN m.eff ELSE m.eff \cup {s}

\* `Machine::completed`.
Complete(m, s) ==
  LET done == [m EXCEPT !.ph[s] = "completed", !.eff = @ \cup {s}, !.dirty = @ \cup {s},
                        !.passed = @ \/ s = Pivot, !.hold = @ /\ s # Pivot]
      all == \A x \in Steps : done.ph[x] = "completed"
  IN IF all /\ m.st = "executing" THEN [done EXCEPT !.st = "completed"] ELSE done

\* The attempt ended with an error after which it may be tried again, or is not: `Machine::step_ended`.
Again(m, s) ==
  LET may == m.st = "executing" \/ m.unw
      honours == s = Pivot /\ m.hold /\ s \notin m.eff
  IN (IF may /\ ~honours THEN {[m EXCEPT !.ph[s] = "waiting"]} ELSE {}) \cup {GaveUp(m, s)}

\* how: what the attempt ended with.
EndStep(k, s, how) ==
  /\ There(k) /\ mem[k].ph[s] \in {"running", "ran"}
  /\ LET m == mem[k]
         ran == m.ph[s] = "ran"
         doubtful == [m EXCEPT !.eff = Known(m, s)]
         hangs == [world EXCEPT !.hang = IF ran THEN @ ELSE @ \cup ({s} \ (world.effect \cup world.declined))]
         canDrop == /\ m.why # "no" /\ ~m.unw /\ s # Pivot
                    /\ OnFailure = "fail_fast"
     IN CASE how = "completed" ->
               ran /\ world' = world /\ mem' = [mem EXCEPT ![k] = After(Complete(m, s))]
          [] how = "clean" ->
               /\ ~ran /\ world' = world
               /\ \E next \in Again(m, s) : mem' = [mem EXCEPT ![k] = After(next)]
          [] how = "permanent" ->
               /\ ~ran /\ s \notin world.effect
               /\ world' = [world EXCEPT !.declined = @ \cup {s}, !.hang = @ \ {s}]
               /\ mem' = [mem EXCEPT ![k] = After(GaveUp([m EXCEPT !.eff = @ \ {s}], s))]
          [] how = "unknown" ->  \* an error, a timeout, a panic
               /\ world' = hangs
               /\ \E next \in Again(doubtful, s) : mem' = [mem EXCEPT ![k] = After(next)]
          [] how = "dropped" ->
               /\ canDrop /\ world' = hangs
               /\ mem' = [mem EXCEPT ![k] = After(GaveUp(doubtful, s))]
  /\ UNCHANGED <<db, n, alive, leased, late, ops, bad>>

Hows == {"completed", "clean", "permanent", "unknown", "dropped"}

\* `Ended::NotBegun`.
DropHeld(k, s) ==
  /\ There(k) /\ IsDropped(mem[k], s)
  /\ mem' = [mem EXCEPT ![k] = After(GaveUp(mem[k], s))]
  /\ UNCHANGED <<db, n, alive, leased, late, world, ops, bad>>

\* `Machine::due`.
Due(k, s) ==
  /\ There(k) /\ mem[k].ph[s] = "waiting"
  /\ mem' = [mem EXCEPT ![k].ph[s] = "held"]
  /\ UNCHANGED <<db, n, alive, leased, late, world, ops, bad>>

BeginUndo(k, s) ==
  /\ There(k) /\ mem[k].ph[s] = "undoHeld" /\ MayBegin(mem[k])
  /\ mem' = [mem EXCEPT ![k].ph[s] = "undoing"]
  /\ world' = [world EXCEPT !.turned = TRUE]
  /\ Breaks({
       <<"P7", ~Owns(k)>>,
       <<"P4", \/ \E x \in UndoBefore(s) \cap Compensated : x \in world.effect /\ x \notin world.undone
               \/ db.why = "no"
               \/ db.rows[s].s \in {"none", "clean", "compensated", "resolved"}
               \/ \E x \in Steps \ G.insists : mem[k].ph[x] \in {"running", "ran"}>>,
       <<"P6", Pivot \in world.effect \/ db.passed>>})
  /\ UNCHANGED <<db, n, alive, leased, late, ops>>

\* `Machine::undo_ended`.
EndUndo(k, s, how) ==
  /\ There(k) /\ mem[k].ph[s] = "undoing"
  /\ LET m == mem[k]
         again == [m EXCEPT !.ph[s] = "undoHeld"]
         over == [m EXCEPT !.ph[s] = "compFailed", !.dirty = @ \cup {s}]
         done == [m EXCEPT !.ph[s] = "compensated", !.dirty = @ \cup {s}]
     IN CASE how = "completed" ->
               /\ world' = [world EXCEPT !.undone = @ \cup {s}]
               /\ mem' = [mem EXCEPT ![k] = After(done)]
          [] how = "failed" ->
               /\ world' = world
               /\ \E next \in {again, over} : mem' = [mem EXCEPT ![k] = After(next)]
  /\ UNCHANGED <<db, n, alive, leased, late, ops, bad>>

-----------------------------------------------------------------------------
(* Writes: `Journal::flush`, `writer::offer`, `Data::progress`.            *)

\* All that is to be stored.
Send(k) ==
  /\ There(k) /\ mem[k].wr = NoWrite /\ mem[k].dirty # {}
  /\ mem' = [mem EXCEPT ![k] = Flushed(mem[k])]
  /\ UNCHANGED <<db, n, alive, leased, late, world, ops, bad>>

\* Nothing but the question whether the instance is still ours.
Ask(k) ==
  /\ There(k) /\ mem[k].wr = NoWrite /\ ~mem[k].sure /\ mem[k].dirty = {}
  /\ mem[k].eng \in leased
  /\ \E s \in Steps : mem[k].ph[s] \in {"held", "undoHeld"}
  /\ mem' = [mem EXCEPT ![k].wr = Payload(mem[k], {}, {}, FALSE)]
  /\ UNCHANGED <<db, n, alive, leased, late, world, ops, bad>>

\* A wait that is long enough is stored.
StoreWaits(k) ==
  /\ Releases /\ There(k) /\ mem[k].wr = NoWrite /\ Waiting(mem[k]) # {}
  /\ LET m == mem[k]
         steps == (m.dirty \ {Inst}) \cup Waiting(m)
     IN mem' = [mem EXCEPT ![k] = [m EXCEPT !.dirty = {}, !.wr = Payload(m, m.dirty, steps, FALSE)]]
  /\ UNCHANGED <<db, n, alive, leased, late, world, ops, bad>>

\* The instance is given up, at a shutdown or for a wait: `Journal::release`.
Release(k) ==
  /\ Releases /\ There(k) /\ mem[k].wr = NoWrite /\ mem[k].st \in Live
  /\ LET m == mem[k]
         steps == (m.dirty \ {Inst}) \cup Unsettled(m)
     IN mem' = [mem EXCEPT ![k] = [m EXCEPT !.dirty = {}, !.wr = Payload(m, m.dirty, steps, TRUE)]]
  /\ UNCHANGED <<db, n, alive, leased, late, world, ops, bad>>

Fenced(eng, epoch) == \/ db.owner = eng /\ db.epoch = epoch
                      \/ broken = "no_fence"

\* The new row replaces the old one, but an output, once stored, stays: `Instance::apply`.
Applied(w) ==
  LET gives_up == w.st \notin Live \/ w.release
      progress == \E s \in DOMAIN w.rows : w.rows[s].s # "running"
      row(s) == IF s \in DOMAIN w.rows
                THEN [s |-> w.rows[s].s, out |-> w.rows[s].out \/ db.rows[s].out]
                ELSE db.rows[s]
  IN [db EXCEPT !.st = w.st, !.passed = w.passed,
                !.why = IF w.why = "no" THEN @ ELSE w.why,
                !.owner = IF gives_up THEN None ELSE @,
                !.tk = @ /\ ~progress,
                !.rows = [s \in Steps |-> row(s)]]

\* Tries are numbered, and the row knows the last one: an earlier one changes nothing any more.  The owner is not in vain asked
\* for as well: what it said before is stored, or is not.
TurnedAway(k) == IF broken = "unnumbered_tries" THEN late ELSE {x \in late : x.k # k}

\* The store judges the token.
Apply(k) ==
  /\ There(k) /\ mem[k].wr # NoWrite /\ mem[k].wr.status = "sent"
  /\ LET m == mem[k]
         repeats == db.owner = None /\ db.epoch = m.epoch /\ m.epoch > 0
     IN IF Fenced(m.eng, m.epoch)
        THEN /\ db' = Applied(m.wr)
             /\ mem' = [mem EXCEPT ![k].wr.status = "stored"]
             /\ late' = TurnedAway(k)
             /\ Breaks({<<"P7", ~Owns(k)>>,
                        <<"P2", \E s \in Steps : db.rows[s].out /\ ~db'.rows[s].out>>,
                        <<"P6", db.passed /\ ~db'.passed>>})
        ELSE /\ mem' = [mem EXCEPT ![k].wr.status = IF repeats THEN "stored" ELSE "lost"]
             /\ UNCHANGED <<db, late, bad>>
  /\ UNCHANGED <<n, alive, leased, world, ops>>

\* The reply is lost, and the same is offered again.
LoseReply(k) ==
  /\ There(k) /\ mem[k].wr # NoWrite /\ mem[k].wr.status = "stored"
  /\ mem' = [mem EXCEPT ![k].wr.status = "sent"]
  /\ UNCHANGED <<db, n, alive, leased, late, world, ops, bad>>

\* A try is given up and made again, while the first is still on its way.
TryAgain(k) ==
  /\ There(k) /\ mem[k].wr # NoWrite /\ mem[k].wr.status = "sent"
  /\ late' = late \cup {Try(k)} /\ Cardinality(late') <= MaxLate
  /\ UNCHANGED <<db, mem, n, alive, leased, world, ops, bad>>

\* It arrives after all.
LateWrite(x) ==
  /\ x \in late /\ late' = late \ {x}
  /\ IF Fenced(x.eng, x.epoch)
     THEN db' = Applied(x.wr) /\ Breaks({<<"P7", x.k # n>>, <<"P6", db.passed /\ ~db'.passed>>})
     ELSE UNCHANGED <<db, bad>>
  /\ UNCHANGED <<mem, n, alive, leased, world, ops>>

\* What the owner hears: `Journal::take_reply`, `Machine::stored`.
Reply(k) ==
  /\ There(k) /\ mem[k].wr # NoWrite /\ mem[k].wr.status \in {"stored", "lost"}
  /\ LET m == mem[k]
         over == m.wr.status = "lost" \/ m.wr.release
         next == After([m EXCEPT !.wr = NoWrite, !.sure = m.wr.sure])
         ended == next.st \notin Live /\ Unsaved(next) = {}
     IN /\ mem' = [mem EXCEPT ![k] = IF over \/ ended THEN Gone ELSE next]
        /\ world' = [world EXCEPT !.hang = IF over THEN @ \cup Hanging(m) ELSE @]
  /\ UNCHANGED <<db, n, alive, leased, late, ops, bad>>

-----------------------------------------------------------------------------
(* Operators, on a stuck instance: `engine/operator.rs`.  They say what is *)
(* true of the world.                                                      *)

Ready(s) == db.rows[s].s # "completed" /\ \A d \in G.deps[s] : db.rows[d].s = "completed"

\* A row as an operator writes it: an output that is stored stays.
Says(rows, s, state, out) == [rows EXCEPT ![s] = [s |-> state, out |-> out \/ rows[s].out]]

Decide(st, rows, passed, why) ==
  /\ db.st = "stuck" /\ ops < MaxOps /\ ops' = ops + 1
  /\ db' = [db EXCEPT !.st = st, !.rows = rows, !.passed = passed, !.why = why, !.owner = None,
                      !.epoch = @ + 1, !.tk = FALSE, !.cancel = FALSE, !.poison = FALSE]
  /\ UNCHANGED <<mem, n, alive, leased, late, bad>>

GoOn == IF db.why = "no" THEN "executing" ELSE "compensating"

\* What was ready under owners that died may have run: `Case::others_in_doubt`.
InDoubt(rows, s) == [x \in Steps |->
  IF db.poison /\ db.why = "no" /\ x # s /\ Ready(x) THEN [rows[x] EXCEPT !.s = "unknown"] ELSE rows[x]]

OperatorRetry(s) ==
  /\ world' = world
  /\ \/ /\ db.why = "no" /\ Ready(s)
        /\ LET doubt == db.rows[s].s = "unknown" \/ db.poison
           IN Decide(GoOn, InDoubt(Says(db.rows, s, IF doubt THEN "unknown" ELSE "clean", FALSE), s),
                     db.passed, db.why)
     \/ /\ db.why # "no" /\ db.rows[s].s \in {"compFailed", "compensating", "unknown", "running"}
        /\ Decide(GoOn, Says(db.rows, s, IF db.rows[s].out THEN "completed" ELSE "unknown", FALSE),
                  db.passed, db.why)

OperatorCompleted(s) ==
  /\ s \in world.effect /\ world' = world
  /\ \/ /\ db.why = "no" /\ Ready(s)
        /\ Decide(GoOn, InDoubt(Says(db.rows, s, "completed", TRUE), s), db.passed \/ s = Pivot, db.why)
     \/ /\ db.why # "no" /\ db.rows[s].s \in {"compFailed", "compensating", "unknown", "running"}
        /\ Decide(GoOn, Says(db.rows, s, "completed", TRUE), db.passed, db.why)

OperatorNoEffect(s) ==
  /\ s \notin world.effect
  /\ world' = [world EXCEPT !.declined = @ \cup {s}, !.hang = @ \ {s}]
  /\ \/ /\ db.why = "no" /\ Ready(s) /\ s \notin Retriable
        /\ Decide("compensating", InDoubt(Says(db.rows, s, "clean", FALSE), s), FALSE, "step")
     \/ /\ db.why # "no" /\ db.rows[s].s \in {"compFailed", "compensating", "unknown", "running"}
        /\ Decide(GoOn, Says(db.rows, s, "clean", FALSE), db.passed, db.why)

OperatorCompensated(s) ==
  /\ db.why # "no" /\ db.rows[s].s \in {"compFailed", "compensating", "unknown", "running"}
  /\ world' = [world EXCEPT !.undone = @ \cup {s}]
  /\ Decide(GoOn, Says(db.rows, s, "resolved", FALSE), db.passed, db.why)

Operator(s) == \/ OperatorRetry(s) \/ OperatorCompleted(s)
               \/ OperatorNoEffect(s) \/ OperatorCompensated(s)

-----------------------------------------------------------------------------
Init ==
  /\ db = [st |-> "none", passed |-> FALSE, why |-> "no", owner |-> None, epoch |-> 0,
           tk |-> FALSE, cancel |-> FALSE, poison |-> FALSE,
           rows |-> [s \in Steps |-> [s |-> "none", out |-> FALSE]]]
  /\ mem = [k \in 1..MaxOwners |-> Gone]
  /\ n = 0 /\ alive = Engines /\ leased = Engines /\ late = {}
  /\ world = [effect |-> {}, hang |-> {}, declined |-> {}, turned |-> FALSE, undone |-> {}]
  /\ ops = 0
  /\ bad = {}
  /\ broken \in Mutations

\* What an owner does by itself, in the order of its life.
Step(k) == \/ \E s \in Steps : \/ BeginStep(k, s) \/ Effect(k, s) \/ DropHeld(k, s) \/ Due(k, s)
                               \/ BeginUndo(k, s)
                               \/ \E how \in Hows : EndStep(k, s, how)
                               \/ \E how \in {"completed", "failed"} : EndUndo(k, s, how)
           \/ Send(k) \/ Ask(k) \/ StoreWaits(k) \/ Release(k)
           \/ Apply(k) \/ LoseReply(k) \/ TryAgain(k) \/ Reply(k) \/ SeeCancel(k)

Act == \/ \E e \in Engines : \/ Accept(e) \/ Expire(e) \/ Renew(e) \/ Die(e) \/ Claim(e)
       \/ \E k \in 1..MaxOwners : Step(k)
       \/ \E x \in late : LateWrite(x)
       \/ \E s \in Steps : LateEffect(s) \/ Operator(s)
       \/ RequestCancel \/ Postpone \/ Poison

Next == Act /\ broken' = broken

Spec == Init /\ [][Next]_vars

\* Engines are alike.
Alike == Permutations(Engines)

-----------------------------------------------------------------------------
(* The promises.                                                           *)

\* P2: what is stored is final; a step begins when the outputs of all its dependencies are stored, and never again.
P2 == "P2" \notin bad

\* P4: in the order of the graph, and only what may have had an effect; and at the end nothing is left.
P4 == /\ "P4" \notin bad
      /\ db.st = "rolledBack" =>
           \A s \in Compensated : s \in world.effect \/ MayStillAct(s) => s \in world.undone
      /\ db.st = "completed" => ~world.turned

\* P5: what is stored as "no effect" surely had none and will have none, once anything is undone.
P5 == world.turned \/ db.st = "rolledBack" =>
        \A s \in Steps : db.rows[s].s \in {"none", "clean"} => s \notin world.effect /\ ~MayStillAct(s)

\* P6: nothing is compensated once the pivot may have had its effect, and it is not passed before its output is stored.
P6 == /\ "P6" \notin bad
      /\ db.passed => db.rows[Pivot].out /\ ~world.turned
      /\ db.st = "rolledBack" /\ Pivot # None => Pivot \notin world.effect /\ ~MayStillAct(Pivot)

\* P7: one owner.
P7 == "P7" \notin bad

\* P8: who is neither live nor new has no owner; and an instance is stuck only where somebody has to decide.
P8 == db.st \notin {"none"} \cup Live => db.owner = None

\* P1, as far as it is about single states: an instance that is live has an owner who has something to do, or it can be claimed,
\* at the latest when a lease is over.  That the owner does it is not said here, nor checked.
Moves(m) == m.dirty # {} \/ m.wr # NoWrite \/ Running(m) # {} \/ Waiting(m) # {}
P1 == db.st \in Live =>
        \/ db.owner = None \/ Orphaned \/ db.owner \notin alive
        \/ \E k \in 1..MaxOwners : There(k) /\ mem[k].eng = db.owner /\ mem[k].epoch = db.epoch /\ Moves(mem[k])

\* What the words say.
Honest == db.st = "completed" => \A s \in Steps : db.rows[s].out /\ s \in world.effect

-----------------------------------------------------------------------------
(* That the model can fail, and that it gets anywhere.                     *)

Failing == {p[1] : p \in {x \in {<<"P1", P1>>, <<"P2", P2>>, <<"P4", P4>>, <<"P5", P5>>, <<"P6", P6>>, <<"P7", P7>>,
                                 <<"P8", P8>>, <<"Honest", Honest>>} : ~x[2]}}

ASSUME TLCSet(1, {}) /\ TLCSet(2, {})

\* A constraint, of the search through what is broken: tells which mutation fails which promise, and searches on for the others.
Escapes ==
  IF Failing = {} THEN broken \notin TLCGet(1)
  ELSE /\ broken \in TLCGet(1) \/ PrintT(<<"caught", broken, Failing>>)
       /\ TLCSet(1, TLCGet(1) \cup {broken})
       /\ FALSE

\* States that have to be there, or the search has missed what it is about.
Sights == {
  <<"completed", db.st = "completed">>,
  <<"rolled back", db.st = "rolledBack">>,
  <<"rolled back after an effect", db.st = "rolledBack" /\ world.undone \cap world.effect # {}>>,
  <<"undone after an effect that nobody saw",
     db.st = "rolledBack" /\ \E s \in world.undone \cap world.effect : ~db.rows[s].out>>,
  <<"stuck", db.st = "stuck">>,
  <<"taken over while compensating", n > 1 /\ db.st = "compensating" /\ There(n) /\ mem[n].res /\ mem[n].unw>>,
  <<"finished by a second owner", n > 1 /\ db.st \in {"completed", "rolledBack"}>>,
  <<"over, and an attempt is still on its way", db.st = "rolledBack" /\ world.hang # {}>>,
  <<"two processes with an attempt of one step",
     \E j, k \in 1..MaxOwners : j < k /\ There(j) /\ There(k)
       /\ \E s \in Steps : {mem[j].ph[s], mem[k].ph[s]} \subseteq {"running", "ran"}>>,
  <<"a former owner's write is refused",
     \E k \in 1..MaxOwners : There(k) /\ mem[k].wr # NoWrite /\ mem[k].wr.status = "lost">>,
  <<"a late try of a former owner", \E x \in late : x.k < n>>,
  <<"a late try of what is stored",
     \E x \in late : x.k = n /\ There(n) /\ mem[n].wr # NoWrite /\ mem[n].wr.status = "sent" /\ mem[n].wr # x.wr>>,
  <<"cancelled", db.why = "cancel" /\ db.st = "rolledBack">>,
  <<"a cancel waits for the pivot", \E k \in 1..MaxOwners : There(k) /\ mem[k].hold>>,
  <<"stuck with the pivot in doubt", db.st = "stuck" /\ Pivot # None /\ db.rows[Pivot].s = "unknown">>,
  <<"beyond the pivot", db.passed>>,
  <<"given up, to be taken again", db.st \in Live /\ db.owner = None /\ n \in 1..MaxOwners-1 /\ alive \cap leased # {}>>,
  <<"given up with a step in doubt",
     db.st \in Live /\ db.owner = None /\ n > 0 /\ \E s \in Steps : db.rows[s].s = "unknown">>,
  <<"poison", db.poison>>,
  <<"completed by an operator's decision", ops > 0 /\ db.st = "completed">>,
  <<"rolled back by an operator's decision", ops > 0 /\ db.st = "rolledBack">>,
  <<"an undo that waits for another", \E k \in 1..MaxOwners : There(k) /\ mem[k].unw /\ \E s \in Compensated :
     /\ mem[k].ph[s] = "completed" /\ Saved(mem[k], s) /\ \A d \in Dependents[s] : Undone(mem[k], d)
     /\ \E x \in G.after[s] : ~Undone(mem[k], x)>>,
  <<"in flight at the failure", \E k \in 1..MaxOwners : There(k) /\ mem[k].why = "step" /\ ~mem[k].unw
     /\ \E s \in Steps : mem[k].ph[s] \in {"running", "ran"}>>,
  <<"in doubt at the failure, and on its way", \E k \in 1..MaxOwners : There(k) /\ mem[k].why = "step" /\ ~mem[k].unw
     /\ \E s \in world.hang : mem[k].ph[s] = "unknown">>,
  <<"a write that tells of two steps",
     \E k \in 1..MaxOwners : There(k) /\ mem[k].wr # NoWrite /\ Cardinality(DOMAIN mem[k].wr.rows) > 1>>,
  <<"an attempt repeated to settle an outcome",
     \E k \in 1..MaxOwners : There(k) /\ mem[k].unw /\ \E s \in G.insists : mem[k].ph[s] = "ran">>,
  <<"begun after the failure", \E k \in 1..MaxOwners : There(k) /\ mem[k].st = "compensating" /\ ~mem[k].unw
     /\ \E s \in Steps : mem[k].ph[s] = "held" /\ FinishesFirst(mem[k].why)>> }

\* An invariant that always holds, and tells of each sight once.
Seen == LET new == {x[1] : x \in {y \in Sights : y[2]}} \ TLCGet(2)
        IN new = {} \/ (PrintT(<<"seen", new>>) /\ TLCSet(2, TLCGet(2) \cup new))
=============================================================================

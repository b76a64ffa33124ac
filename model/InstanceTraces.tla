--------------------------- MODULE InstanceTraces ---------------------------
(***************************************************************************)
(* Whether runs of the engine are behaviours of Instance.  The module      *)
(* Traces is written by tests/model: a run is the sequence of what was     *)
(* seen of it, which is each applied change of the store, each attempt     *)
(* with its effect and its end, and each death of a process.  What was not *)
(* seen (when a write was sent or its reply heard, when a lease ended, when*)
(* a wait was over) is chosen so that the rest fits, if it can be.         *)
(***************************************************************************)
EXTENDS Instance, Sequences, Traces

VARIABLES
  t,  \* which run
  i   \* what of it comes next

Events == Traces[t]
Ev == Events[i]
traced == <<t, i>>

Now(what) == Ev.what = what
Same == UNCHANGED vars

\* The flight of an engine that has an attempt of this step under way.
With(e, s, phases, action(_)) == \E k \in 1..MaxOwners :
  There(k) /\ mem[k].eng = e /\ mem[k].ph[s] \in phases /\ action(k)
Without(e, s) == ~\E k \in 1..MaxOwners :
  There(k) /\ mem[k].eng = e /\ mem[k].ph[s] \in {"running", "ran", "undoing"}

Changed(k) ==
  LET w == mem[k].wr
  IN /\ Apply(k)
     /\ db'.st = Ev.st /\ db'.passed = Ev.passed /\ db'.owner = Ev.owner /\ db'.epoch = Ev.epoch
     /\ DOMAIN w.rows = DOMAIN Ev.rows
     /\ \A s \in DOMAIN Ev.rows : w.rows[s].s = Ev.rows[s].s /\ db'.rows[s].out = Ev.rows[s].out

\* An attempt whose future was dropped: it timed out, or the failure strategy says so, or its instance is gone from memory.
DroppedStep(k) == EndStep(k, Ev.s, "unknown") \/ EndStep(k, Ev.s, "dropped")
DroppedUndo(k) == EndUndo(k, Ev.s, "failed")

Observed ==
  \/ Now("accept") /\ (\E e \in Engines : Accept(e)) /\ db'.owner = Ev.owner
  \/ Now("begin") /\ With(Ev.eng, Ev.s, {"held"}, LAMBDA k : BeginStep(k, Ev.s))
  \/ Now("effect") /\ With(Ev.eng, Ev.s, {"running"}, LAMBDA k : Effect(k, Ev.s))
  \/ Now("end") /\ With(Ev.eng, Ev.s, {"running", "ran"}, LAMBDA k : EndStep(k, Ev.s, Ev.how))
  \/ Now("begin undo") /\ With(Ev.eng, Ev.s, {"undoHeld"}, LAMBDA k : BeginUndo(k, Ev.s))
  \/ Now("end undo") /\ With(Ev.eng, Ev.s, {"undoing"}, LAMBDA k : EndUndo(k, Ev.s, Ev.how))
  \/ Now("gone") /\ With(Ev.eng, Ev.s, {"running", "ran"}, DroppedStep)
  \/ Now("gone") /\ With(Ev.eng, Ev.s, {"undoing"}, DroppedUndo)
  \/ Now("gone") /\ Without(Ev.eng, Ev.s) /\ Same
  \/ /\ Now("progress")
     /\ \E k \in 1..MaxOwners :
          There(k) /\ mem[k].eng = Ev.eng /\ Fenced(mem[k].eng, mem[k].epoch) /\ Changed(k)
  \/ Now("claim") /\ Orphaned = Ev.orphaned /\ Claim(Ev.eng) /\ db'.epoch = Ev.epoch
  \/ Now("postpone") /\ Postpone /\ db'.epoch = Ev.epoch
  \/ Now("poison") /\ Poison /\ db'.epoch = Ev.epoch
  \/ Now("cancel") /\ (RequestCancel \/ (db.cancel /\ Same))
  \/ Now("die") /\ (Die(Ev.eng) \/ (~Matters(Ev.eng) /\ Same))

\* What an engine's next applied write is, from here on.
NextWrites(e) == {j \in i..Len(Events) : Events[j].what = "progress" /\ Events[j].eng = e}
Fits(k) ==
  LET writes == NextWrites(mem[k].eng)
      first == Events[CHOOSE j \in writes : \A x \in writes : j <= x]
      w == mem'[k].wr
  IN IF writes = {} THEN TRUE
     ELSE DOMAIN w.rows = DOMAIN first.rows /\ \A s \in DOMAIN w.rows : w.rows[s].s = first.rows[s].s

\* A lease ends no sooner than that makes a difference: before a claim, and before somebody asks whether he still owns it.
LapseMatters == Now("claim") \/ (Now("progress") /\ DOMAIN Ev.rows = {})

Unseen ==
  \/ \E e \in Engines : (LapseMatters /\ Expire(e)) \/ Renew(e)
  \/ \E k \in 1..MaxOwners :
       \/ (Send(k) \/ Ask(k) \/ StoreWaits(k) \/ Release(k)) /\ Fits(k)
       \/ Reply(k) \/ LoseReply(k) \/ SeeCancel(k)
       \/ There(k) /\ ~Fenced(mem[k].eng, mem[k].epoch) /\ Apply(k)
       \/ \E s \in Steps : DropHeld(k, s) \/ Due(k, s)

TraceInit == Init /\ t \in 1..Len(Traces) /\ i = 1

TraceNext == /\ i <= Len(Events) /\ broken' = broken /\ t' = t
             /\ \/ Observed /\ i' = i + 1
                \/ Unseen /\ i' = i

ASSUME TLCSet(3, {}) /\ TLCSet(4, {})

\* A constraint: says how far each run was followed.
Followed ==
  /\ <<t, i>> \in TLCGet(3) \/ (PrintT(<<"followed", t, i - 1>>) /\ TLCSet(3, TLCGet(3) \cup {<<t, i>>}))
  /\ i <= Len(Events) \/ TLCSet(4, TLCGet(4) \cup {t})
  /\ t \notin TLCGet(4)
=============================================================================

------------------------------- MODULE Outbox -------------------------------
(***************************************************************************)
(* Events, from the attempt that publishes them to the broker: stored with *)
(* the output, in places of a lane that one worker of the relay owns at a  *)
(* time, or sent at once by the process that has committed them.           *)
(*                                                                         *)
(* Abstracted away:                                                        *)
(*  - time: a wait is over when the model says so, and a lease ends then;  *)
(*  - limits of memory, batches, bytes: what is left behind for want of    *)
(*    room is read again, as what has failed is;                           *)
(*  - a read is one step, so `LaneState::passing` is not modelled;         *)
(*  - one lane, as lanes share nothing but the lease of their worker.      *)
(***************************************************************************)
EXTENDS Naturals, Sequences, FiniteSets, TLC

CONSTANTS
  Count,      \* events 1..Count, each of a write of its own
  Keys,       \* {0}: all have one key; {0, 1}: odd ones have one, even ones another
  Workers,    \* of relays
  MaxTurns,   \* how often the lane gets an owner
  Senders,    \* whether there is an optimistic sender
  Deads,      \* whether events are given up
  Blocks,     \* whether a dead one blocks its key
  Mutations   \* {"none"}, or what is broken

VARIABLES
  tx,         \* of each event: "new", "open", "stored", "undone" (rolled back, or refused for its token)
  place,      \* its place in the lane, from 1
  next,       \* the next place
  order,      \* events in the order of their commits
  outputs,    \* events whose output is stored
  row,        \* "none", "pending", "sent", "dead", "blocking"
  lease,      \* events that are leased to their sender
  owner,      \* of the lane
  epoch,
  turn,       \* how many owners there were, however that is told
  leased,     \* workers with a lease, by the store's clock
  work,       \* by worker: what it has in memory
  net,        \* events on their way to the broker that nobody waits for any more
  sending,    \* events that their sender has at the broker
  delivered,  \* what the broker has taken at least once
  late,       \* marks that may still reach the store
  bad, broken

vars == <<tx, place, next, order, outputs, row, lease, owner, epoch, turn, leased, work, net, sending,
          delivered, late, bad, broken>>

Events == 1..Count
Key(e) == e % Cardinality(Keys)
Of(k) == {e \in Events : Key(e) = k}
Nobody == "nobody"
Idle == [epoch |-> 0, turn |-> 0, after |-> 0, unsettled |-> {}, queue |-> {}, flight |-> [k \in Keys |-> 0],
         held |-> {}, behind |-> {}, done |-> {}, marks |-> {}]

First(set) == CHOOSE e \in set : \A x \in set : place[e] <= place[x]
Breaks(promise, condition) == bad' = IF condition THEN bad \cup {promise} ELSE bad

-----------------------------------------------------------------------------
(* The way into the outbox: `Data::progress`, `Outbox::append`, and the    *)
(* places of PostgreSQL (`EVENTS` of `write/statements.rs`).               *)

\* A write with an event is under way: it holds the lock of its key, to the commit, and has its place.
Open(e) ==
  /\ tx[e] = "new"
  /\ broken = "no_key_lock" \/ \A x \in Of(Key(e)) : tx[x] # "open"
  /\ tx' = [tx EXCEPT ![e] = "open"]
  /\ place' = [place EXCEPT ![e] = next] /\ next' = next + 1
  /\ UNCHANGED <<order, outputs, row, lease, owner, epoch, turn, leased, work, net, sending, delivered, late, bad>>

\* Output and event are one write.  Nobody else can be first of the key meanwhile: the lock is held.
Commit(e) ==
  /\ tx[e] = "open"
  /\ tx' = [tx EXCEPT ![e] = "stored"]
  /\ order' = Append(order, e)
  /\ outputs' = outputs \cup {e}
  /\ row' = IF broken = "event_apart" THEN row ELSE [row EXCEPT ![e] = "pending"]
  /\ LET isFirst == \A x \in Of(Key(e)) : row[x] \notin {"pending", "blocking"}
     IN lease' = IF Senders /\ (isFirst \/ broken = "sender_not_first") THEN lease \cup {e} ELSE lease
  /\ UNCHANGED <<place, next, owner, epoch, turn, leased, work, net, sending, delivered, late, bad>>

\* Broken: the event is stored by a write of its own, if the process lives so long.
StoreApart(e) ==
  /\ broken = "event_apart" /\ e \in outputs /\ row[e] = "none"
  /\ row' = [row EXCEPT ![e] = "pending"]
  /\ UNCHANGED <<tx, place, next, order, outputs, lease, owner, epoch, turn, leased, work, net, sending,
                 delivered, late, bad>>

\* The transaction is rolled back, or its token is a former owner's; an attempt that fails stores nothing at all.
Rollback(e) ==
  /\ tx[e] = "open"
  /\ tx' = [tx EXCEPT ![e] = "undone"]
  /\ UNCHANGED <<place, next, order, outputs, row, lease, owner, epoch, turn, leased, work, net, sending,
                 delivered, late, bad>>

-----------------------------------------------------------------------------
(* Whose the lane is: `Outbox::attend`, `Machine::attended`.               *)

OnItsWay(m) == {m.flight[k] : k \in Keys} \ {0}

Marks(w) == {[w |-> w, mark |-> x] : x \in work[w].marks}

\* What is in flight when the lane is lost, or the process dies, may still arrive; so may a mark.  More than that the model does
\* not let a former owner do: it publishes nothing once its lease is over.
Attend(w) ==
  /\ leased' = leased \cup {w}
  /\ LET free == owner = Nobody \/ owner \notin leased \cup {w}
     IN IF owner = w
        THEN /\ w \notin leased \* nobody took it meanwhile
             /\ UNCHANGED <<owner, epoch, turn, work, net, late>>
        ELSE /\ free /\ turn < MaxTurns /\ turn' = turn + 1
             /\ owner' = w
             /\ epoch' = IF broken = "same_epoch" /\ epoch > 0 THEN epoch ELSE epoch + 1
             /\ work' = [x \in Workers |-> IF x = w THEN [Idle EXCEPT !.epoch = epoch', !.turn = turn'] ELSE Idle]
             /\ net' = net \cup UNION {OnItsWay(work[x]) : x \in Workers}
             /\ late' = late \cup UNION {Marks(x) : x \in Workers}
  /\ UNCHANGED <<tx, place, next, order, outputs, row, lease, sending, delivered, bad>>

Expire(w) ==
  /\ w \in leased /\ owner = w
  /\ leased' = leased \ {w}
  /\ UNCHANGED <<tx, place, next, order, outputs, row, lease, owner, epoch, turn, work, net, sending,
                 delivered, late, bad>>

\* The process dies; another worker has its name, as far as the model goes.
Die(w) ==
  /\ work[w] # Idle
  /\ work' = [work EXCEPT ![w] = Idle]
  /\ net' = net \cup OnItsWay(work[w])
  /\ late' = late \cup Marks(w)
  /\ leased' = leased \ {w}
  /\ owner' = owner
  /\ UNCHANGED <<tx, place, next, order, outputs, row, lease, epoch, turn, sending, delivered, bad>>

Has(w) == work[w].epoch > 0
\* `now < lease_until` in `Machine::publish` and `read`.
IsSure(w) == Has(w) /\ w \in leased

-----------------------------------------------------------------------------
(* What is read: `Machine::read`, `was_read`, `Outbox::fetch`.             *)

Visible(e) == row[e] \in {"pending", "blocking"}
Kept(m, e) == e \notin m.done /\ e \notin OnItsWay(m)

\* One that is leased to its sender, or blocks, is left behind with all that follow it in its key.
Take(m, events) ==
  LET fresh == {e \in events : Kept(m, e) /\ Key(e) \notin m.behind /\ Key(e) \notin m.held}
      waits(k) == \E e \in fresh \cap Of(k) : e \in lease \/ row[e] = "blocking"
      left == {k \in Keys : waits(k)} \cup {k \in m.held : \E e \in events \cap Of(k) : Kept(m, e)}
  IN [m EXCEPT !.queue = @ \cup {e \in fresh : Key(e) \notin left}, !.behind = @ \cup left]

\* A read of the lane: what comes after the last place, and what transactions that were open then have stored since.
Read(w) ==
  /\ IsSure(w) /\ owner = w /\ epoch = work[w].epoch
  /\ LET m == work[w]
         events == {e \in Events : Visible(e) /\ (place[e] > m.after \/ e \in m.unsettled)}
         last == IF events = {} THEN m.after
                 ELSE LET most == CHOOSE e \in events : \A x \in events : place[e] >= place[x]
                      IN IF place[most] > m.after THEN place[most] ELSE m.after
         open == {e \in Events : tx[e] = "open" /\ place[e] < last}
     IN /\ events # {}
        /\ work' = [work EXCEPT ![w] = [Take(m, events) EXCEPT !.after = last,
             !.unsettled = IF broken = "forget_unsettled" THEN {} ELSE open]]
  /\ UNCHANGED <<tx, place, next, order, outputs, row, lease, owner, epoch, turn, leased, net, sending,
                 delivered, late, bad>>

\* A key that was left behind is read once more.
ReadKey(w, k) ==
  /\ IsSure(w) /\ owner = w /\ epoch = work[w].epoch
  /\ k \in work[w].behind /\ k \notin work[w].held
  /\ LET m == [work[w] EXCEPT !.behind = @ \ {k}]
         next_ == Take(m, {e \in Of(k) : Visible(e)})
     IN next_ # work[w] /\ work' = [work EXCEPT ![w] = next_]
  /\ UNCHANGED <<tx, place, next, order, outputs, row, lease, owner, epoch, turn, leased, net, sending,
                 delivered, late, bad>>

-----------------------------------------------------------------------------
(* What goes to the broker: `Machine::publish`, `published`.               *)

Earlier(e) == {order[i] : i \in {j \in 1..Len(order) : \E i2 \in 1..Len(order) : order[i2] = e /\ j < i2}}

\* First deliveries of a key are in the order of commits; what is dead was given up.
OutOfOrder(e) == e \notin delivered /\
  \E x \in Earlier(e) \cap Of(Key(e)) : x \notin delivered /\ row[x] # "dead"

Publish(w, k) ==
  /\ IsSure(w) /\ work[w].flight[k] = 0 /\ k \notin work[w].held
  /\ LET m == work[w]
         queue == m.queue \cap Of(k)
         e == First(queue)
     IN /\ queue # {}
        /\ work' = [work EXCEPT ![w] = [m EXCEPT !.queue = @ \ {e}, !.flight[k] = e,
             !.marks = IF broken = "mark_before_publish"
                       THEN @ \cup {[epoch |-> m.epoch, turn |-> m.turn, e |-> e, fate |-> "sent"]} ELSE @]]
        /\ Breaks("P7", owner # w \/ turn # m.turn)
  /\ UNCHANGED <<tx, place, next, order, outputs, row, lease, owner, epoch, turn, leased, net, sending,
                 delivered, late>>

\* The broker takes it.
Deliver(e) ==
  /\ e \notin delivered
  /\ e \in net \cup sending \/ \E w \in Workers, k \in Keys : work[w].flight[k] = e
  /\ delivered' = delivered \cup {e}
  /\ Breaks("P11", OutOfOrder(e))
  /\ UNCHANGED <<tx, place, next, order, outputs, row, lease, owner, epoch, turn, leased, work, net, sending,
                 late>>

\* What is left behind is read again from this event on.
LeftBehind(m, k) == [m EXCEPT !.queue = @ \ Of(k), !.behind = @ \cup {k}]

Tell(m, e, fate) == [m EXCEPT !.marks = @ \cup {[epoch |-> m.epoch, turn |-> m.turn, e |-> e, fate |-> fate]}]

\* how: "sent", "retry" (in doubt, or refused), "dead".  Until the store knows of an attempt that failed, the key is held.
Published(w, k, how) ==
  /\ work[w].flight[k] # 0
  /\ LET e == work[w].flight[k]
         m == [work[w] EXCEPT !.flight[k] = 0]
         hold == IF broken = "not_held" THEN {} ELSE {k}
     IN CASE how = "sent" ->
               /\ e \in delivered
               /\ work' = [work EXCEPT ![w] =
                    IF broken = "mark_before_publish" THEN m ELSE Tell([m EXCEPT !.done = @ \cup {e}], e, "sent")]
               /\ net' = net
          [] how = "retry" ->
               /\ work' = [work EXCEPT ![w] =
                    [LeftBehind(Tell(m, e, "retry"), k) EXCEPT !.held = @ \cup hold]]
               /\ net' = IF e \in delivered THEN net ELSE net \cup {e}
          [] how = "dead" ->
               /\ Deads /\ e \notin delivered \* refused
               /\ LET told == [Tell(m, e, IF Blocks THEN "blocking" ELSE "dead") EXCEPT !.held = @ \cup hold]
                  IN work' = [work EXCEPT ![w] =
                       IF Blocks THEN LeftBehind(told, k) ELSE [told EXCEPT !.done = @ \cup {e}]]
               /\ net' = net
  /\ UNCHANGED <<tx, place, next, order, outputs, row, lease, owner, epoch, turn, leased, sending, delivered,
                 late, bad>>

-----------------------------------------------------------------------------
(* What the store is told: `Machine::marks`, `marked`, `Outbox::mark`.     *)

Fate(e, fate) == CASE row[e] \notin {"pending", "blocking"} -> row
                   [] fate = "retry" -> row
                   [] OTHER -> [row EXCEPT ![e] = fate]

Fenced(w, mark) == (owner = w /\ epoch = mark.epoch) \/ broken = "no_fence"

\* An event that is marked as sent is with the broker, or will be read again.
Lost(mark) == mark.fate = "sent" /\ mark.e \notin delivered

Mark(w, mark) ==
  /\ mark \in work[w].marks
  /\ LET m == [work[w] EXCEPT !.marks = @ \ {mark}]
         k == Key(mark.e)
         told == [m EXCEPT !.held = IF mark.fate = "sent" THEN @ ELSE @ \ {k}, !.done = @ \ {mark.e}]
     IN IF Fenced(w, mark)
        THEN /\ row' = Fate(mark.e, mark.fate)
             /\ work' = [work EXCEPT ![w] = told]
             /\ net' = net
             /\ bad' = bad \cup (IF owner # w \/ turn # mark.turn THEN {"P7"} ELSE {})
        ELSE /\ work' = [work EXCEPT ![w] = Idle]
             /\ net' = net \cup OnItsWay(work[w])
             /\ UNCHANGED <<row, bad>>
  /\ UNCHANGED <<tx, place, next, order, outputs, lease, owner, epoch, turn, leased, sending, delivered, late>>

\* The mark is stored, and the reply is lost: it is told again.  Or it comes when its worker is gone.
MarkUnheard(w, mark) ==
  /\ mark \in work[w].marks /\ Fenced(w, mark)
  /\ row' = Fate(mark.e, mark.fate)
  /\ row' # row
  /\ Breaks("P7", owner # w \/ turn # mark.turn)
  /\ UNCHANGED <<tx, place, next, order, outputs, lease, owner, epoch, turn, leased, work, net, sending,
                 delivered, late>>

LateMark(x) ==
  /\ x \in late /\ late' = late \ {x}
  /\ IF Fenced(x.w, x.mark)
     THEN /\ row' = Fate(x.mark.e, x.mark.fate)
          /\ Breaks("P7", owner # x.w \/ turn # x.mark.turn)
     ELSE UNCHANGED <<row, bad>>
  /\ UNCHANGED <<tx, place, next, order, outputs, lease, owner, epoch, turn, leased, work, net, sending, delivered>>

-----------------------------------------------------------------------------
(* The optimistic sender: `optimistic.rs`, `Outbox::heads`, `settle_heads`.*)

SendAtOnce(e) ==
  /\ e \in lease /\ row[e] = "pending" /\ e \notin sending
  /\ sending' = sending \cup {e}
  /\ UNCHANGED <<tx, place, next, order, outputs, row, lease, owner, epoch, turn, leased, work, net,
                 delivered, late, bad>>

\* It tells the store, if its lease is still good.
SettleHead(e) ==
  /\ e \in sending /\ e \in lease
  /\ sending' = sending \ {e} /\ lease' = lease \ {e}
  /\ row' = IF e \in delivered THEN Fate(e, "sent") ELSE row
  /\ net' = IF e \in delivered THEN net ELSE net \cup {e}
  /\ UNCHANGED <<tx, place, next, order, outputs, owner, epoch, turn, leased, work, delivered, late, bad>>

\* Its lease ends, by the store's clock; what it has at the broker may still arrive.
EndLease(e) ==
  /\ e \in lease
  /\ lease' = lease \ {e} /\ sending' = sending \ {e}
  /\ net' = IF e \in sending /\ e \notin delivered THEN net \cup {e} ELSE net
  /\ UNCHANGED <<tx, place, next, order, outputs, row, owner, epoch, turn, leased, work, delivered, late, bad>>

-----------------------------------------------------------------------------
Init ==
  /\ tx = [e \in Events |-> "new"] /\ place = [e \in Events |-> 0] /\ next = 1 /\ order = <<>>
  /\ outputs = {} /\ row = [e \in Events |-> "none"] /\ lease = {} /\ owner = Nobody /\ epoch = 0 /\ turn = 0
  /\ leased = {} /\ work = [w \in Workers |-> Idle] /\ net = {} /\ sending = {} /\ delivered = {}
  /\ late = {} /\ bad = {} /\ broken \in Mutations

Act == \/ \E e \in Events : \/ Open(e) \/ Commit(e) \/ StoreApart(e) \/ Rollback(e) \/ Deliver(e)
                            \/ SendAtOnce(e) \/ SettleHead(e) \/ EndLease(e)
       \/ \E w \in Workers : \/ Attend(w) \/ Expire(w) \/ Die(w) \/ Read(w)
                             \/ \E k \in Keys : \/ ReadKey(w, k) \/ Publish(w, k)
                                                \/ \E how \in {"sent", "retry", "dead"} : Published(w, k, how)
                             \/ \E mark \in work[w].marks : Mark(w, mark) \/ MarkUnheard(w, mark)
       \/ \E x \in late : LateMark(x)

Next == Act /\ broken' = broken

Alike == Permutations(Workers)

-----------------------------------------------------------------------------
(* P11: an event is stored if and only if its output is; the first         *)
(* deliveries of a key are in the order of commits; none is lost.          *)
P11 == /\ "P11" \notin bad
       /\ \A e \in Events : e \in outputs <=> row[e] # "none"
       /\ \A e \in Events : row[e] = "sent" => e \in delivered

\* What is to be published is in the memory of the owner of the lane, or it will read it.
NothingForgotten == \A w \in Workers :
  Has(w) /\ owner = w /\ epoch = work[w].epoch =>
    \A e \in Events : row[e] = "pending" =>
      LET m == work[w]
      IN \/ place[e] > m.after \/ e \in m.unsettled \/ e \in m.queue \/ Key(e) \in m.behind
         \/ e \in OnItsWay(m) \/ \E x \in m.marks : x.e = e

P7 == "P7" \notin bad

Failing == {p[1] : p \in {x \in {<<"P11", P11>>, <<"P7", P7>>, <<"NothingForgotten", NothingForgotten>>} : ~x[2]}}

ASSUME TLCSet(1, {}) /\ TLCSet(2, {})

Escapes ==
  IF Failing = {} THEN broken \notin TLCGet(1)
  ELSE /\ broken \in TLCGet(1) \/ PrintT(<<"caught", broken, Failing>>)
       /\ TLCSet(1, TLCGet(1) \cup {broken})
       /\ FALSE

\* What the owner of the lane knows that the broker has, and the store does not know.
Confirmed(w) == {x.e : x \in {y \in work[w].marks : y.fate = "sent"}}

\* By whom nothing is at the broker any more that he would hear of.
Unheard == {e \in net \ delivered : \A w \in Workers : e \notin OnItsWay(work[w])}

Sights == {
  <<"all sent", \A e \in Events : row[e] = "sent">>,
  <<"sent by a second owner", \E w \in Workers : work[w].turn > 1 /\ Confirmed(w) # {}>>,
  <<"sent again by a second owner",
     \E w \in Workers, e \in delivered : work[w].turn > 1 /\ e \in OnItsWay(work[w])>>,
  <<"on its way, and its worker is gone", owner # Nobody /\ work[owner] = Idle /\ Unheard # {}>>,
  <<"a late mark", \E x \in late : x.mark.turn < turn>>,
  <<"dead", \E e \in Events : row[e] = "dead">>,
  <<"sent after one that is dead",
     \E e, x \in Events : row[e] = "dead" /\ row[x] = "sent" /\ Key(e) = Key(x) /\ place[e] < place[x]>>,
  <<"blocking", \E e \in Events : row[e] = "blocking">>,
  <<"one waits behind one that blocks", \E w \in Workers : \E e, x \in Events :
     /\ row[e] = "blocking" /\ row[x] = "pending" /\ Key(e) = Key(x) /\ place[e] < place[x]
     /\ IsSure(w) /\ work[w].after >= place[x] /\ x \notin work[w].queue>>,
  <<"a place that becomes visible late", \E w \in Workers : \E e \in work[w].unsettled : tx[e] = "stored">>,
  <<"sent at once", \E e \in Events : row[e] = "sent" /\ owner = Nobody>>,
  <<"left by the sender", \E e \in net \cup delivered : row[e] = "pending" /\ e \notin lease /\ owner = Nobody>> }

Seen == LET new == {x[1] : x \in {y \in Sights : y[2]}} \ TLCGet(2)
        IN new = {} \/ (PrintT(<<"seen", new>>) /\ TLCSet(2, TLCGet(2) \cup new))
=============================================================================

------------------------------- MODULE Inbox --------------------------------
(***************************************************************************)
(* Handling once (P11): a broker delivers an event again and again, to     *)
(* several members of a group at once; the handler's writes are made in a  *)
(* transaction that also records the event: `sagaz-outbox/src/inbox`, the  *)
(* inboxes of the stores.                                                  *)
(*                                                                         *)
(* Abstracted away: retention, retries and dead letters of the inbox; the  *)
(* handler's work is one write.                                            *)
(***************************************************************************)
EXTENDS Naturals, FiniteSets, TLC

CONSTANTS Events, Members, Mutations

VARIABLES
  sent,      \* events that the broker has
  busy,      \* by member: the event whose handler runs, or 0
  handled,   \* events that are recorded
  writes,    \* how often the writes of each event's handler are committed
  acked,     \* events that a member has told the broker are done with
  broken

vars == <<sent, busy, handled, writes, acked, broken>>

Init == /\ sent = {} /\ busy = [m \in Members |-> 0] /\ handled = {}
        /\ writes = [e \in Events |-> 0] /\ acked = {} /\ broken \in Mutations

Send(e) == sent' = sent \cup {e} /\ e \notin sent /\ UNCHANGED <<busy, handled, writes, acked>>

\* A delivery: one that is recorded is acknowledged, and its handler does not run.  `begin_handling`.
Deliver(m, e) ==
  /\ e \in sent /\ busy[m] = 0
  /\ IF e \in handled /\ broken # "no_record"
     THEN acked' = acked \cup {e} /\ busy' = busy
     ELSE /\ busy' = [busy EXCEPT ![m] = e]
          /\ acked' = IF broken = "acknowledged_first" THEN acked \cup {e} ELSE acked
  /\ UNCHANGED <<sent, handled, writes>>

\* The handler's transaction commits, or finds that somebody was faster: `finish_handling`.  The broker is told, or the process
\* dies before.
Finish(m) ==
  /\ busy[m] # 0
  /\ LET e == busy[m]
         first == e \notin handled \/ broken \in {"looked_at_only_before", "no_record"}
     IN /\ writes' = IF first /\ writes[e] < 2 THEN [writes EXCEPT ![e] = @ + 1] ELSE writes
        /\ handled' = handled \cup {e}
        /\ acked' \in {acked, acked \cup {e}}
  /\ busy' = [busy EXCEPT ![m] = 0]
  /\ sent' = sent

\* The handler fails, or its process dies: rolled back, and delivered again.
Fail(m) == /\ busy[m] # 0 /\ busy' = [busy EXCEPT ![m] = 0]
           /\ UNCHANGED <<sent, handled, writes, acked>>

\* The broker gives nothing any more that is acknowledged, except what was on its way; or everything, after a failover.
Act == \/ \E e \in Events : Send(e)
       \/ \E m \in Members : Finish(m) \/ Fail(m) \/ \E e \in Events : Deliver(m, e)
Next == Act /\ broken' = broken

-----------------------------------------------------------------------------
\* P11: the writes happen once, and what is acknowledged is handled.
Once == \A e \in Events : writes[e] <= 1
Kept == acked \subseteq handled

Failing == {p[1] : p \in {x \in {<<"Once", Once>>, <<"Kept", Kept>>} : ~x[2]}}

ASSUME TLCSet(1, {}) /\ TLCSet(2, {})

Escapes ==
  IF Failing = {} THEN broken \notin TLCGet(1)
  ELSE /\ broken \in TLCGet(1) \/ PrintT(<<"caught", broken, Failing>>)
       /\ TLCSet(1, TLCGet(1) \cup {broken})
       /\ FALSE

Sights == {
  <<"handled by two at once", \E a, b \in Members : a # b /\ busy[a] # 0 /\ busy[a] = busy[b]>>,
  <<"somebody was faster", \E m \in Members : busy[m] # 0 /\ busy[m] \in handled>>,
  <<"handled, and the broker was not told", handled \ acked # {}>>,
  <<"all done with", acked = Events /\ \A e \in Events : writes[e] = 1>> }

Seen == LET new == {x[1] : x \in {y \in Sights : y[2]}} \ TLCGet(2)
        IN new = {} \/ (PrintT(<<"seen", new>>) /\ TLCSet(2, TLCGet(2) \cup new))
=============================================================================

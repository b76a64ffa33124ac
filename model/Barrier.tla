------------------------------ MODULE Barrier -------------------------------
(***************************************************************************)
(* The barrier of one step in a participant's database:                    *)
(* `sagaz-storage/src/barrier`.  Requests of its action and of its         *)
(* compensation arrive as often and as late as they like, several at once, *)
(* each in a transaction of the participant's; a database that fails, or a *)
(* process that dies, rolls one back.                                      *)
(*                                                                         *)
(* Abstracted away: outputs are the number of the request whose work was   *)
(* done; an action that is committed although its work has failed          *)
(* (`Unfinished`) is a mistake of the participant's, and not modelled; and *)
(* rows are never pruned.                                                  *)
(***************************************************************************)
EXTENDS Naturals, FiniteSets, TLC

CONSTANTS Requests, Mutations

VARIABLES
  row,      \* "nothing", "begun", "done", "refused" (by a tombstone), "undone"
  output,   \* what the row keeps
  holder,   \* whose open transaction has the row, or 0
  was,      \* row and output before that transaction
  req,      \* of each request: what it is, how it stands, and what its caller got
  works,    \* committed works: of actions
  undos,    \* of compensations, with the output that each got
  arrived,  \* whether a compensation has been answered
  bad, broken

vars == <<row, output, holder, was, req, works, undos, arrived, bad, broken>>

Fresh == [kind |-> "none", state |-> "new", reply |-> "none", got |-> 0]
Ended == {"done", "failed", "new"}

Init ==
  /\ row = "nothing" /\ output = 0 /\ holder = 0 /\ was = <<"nothing", 0>>
  /\ req = [r \in Requests |-> Fresh] /\ works = {} /\ undos = {} /\ arrived = FALSE
  /\ bad = {} /\ broken \in Mutations

Break(names) == bad' = bad \cup names

\* A request begins its transaction and writes the first row: `ParticipantConnection::insert`.  Of two, one waits.
Arrive(r, kind) ==
  /\ req[r].state = "new" /\ (holder = 0 \/ broken = "row_after_work")
  /\ LET first == row = "nothing" /\ broken # "row_after_work"
         set(state) == req' = [req EXCEPT ![r] = [@ EXCEPT !.kind = kind, !.state = state]]
     IN /\ holder' = IF broken = "row_after_work" THEN holder ELSE r
        /\ was' = <<row, output>>
        /\ CASE kind = "act" /\ (first \/ (broken = "row_after_work" /\ row = "nothing")) ->
                  row' = (IF first THEN "begun" ELSE row) /\ set("working")
             [] kind = "undo" /\ first /\ broken # "no_tombstone" ->
                  row' = "refused" /\ set("nothing to do")
             [] kind = "undo" /\ row = "nothing" ->
                  row' = row /\ set("nothing to do")
             [] OTHER ->
                  row' = row /\ set("looking")
  /\ UNCHANGED <<output, works, undos, arrived, bad>>

\* What is there already decides: `Barrier::look`.
Look(r) ==
  /\ req[r].state = "looking"
  /\ LET act == req[r].kind = "act"
         set(state) == req' = [req EXCEPT ![r].state = state]
     IN CASE act /\ row = "done" -> set(IF broken = "works_again" THEN "working" ELSE "repeats")
          [] act /\ row \in {"undone", "refused"} ->
               set(IF broken = "hanging_works" THEN "working" ELSE "refused")
          [] ~act /\ row = "done" -> set("working")
          [] OTHER -> set("nothing to do")
  /\ UNCHANGED <<row, output, holder, was, works, undos, arrived, bad>>

\* It commits: the work and the row, or neither.  The reply may be lost, and then the caller asks again with another request.
Commit(r) ==
  /\ req[r].state \in {"working", "repeats", "refused", "nothing to do"}
  /\ LET act == req[r].kind = "act"
         works_ == req[r].state = "working"
     IN /\ row' = IF works_ THEN (IF act THEN "done" ELSE "undone") ELSE row
        /\ output' = IF works_ /\ act THEN r ELSE output
        /\ works' = IF works_ /\ act THEN works \cup {r} ELSE works
        /\ undos' = IF works_ /\ ~act THEN undos \cup {<<r, output>>} ELSE undos
        /\ arrived' = (arrived \/ ~act)
        /\ req' = [req EXCEPT ![r] = [@ EXCEPT !.state = "done",
             !.reply = IF act THEN (IF req[r].state = "refused" THEN "refused" ELSE "output") ELSE "ok",
             !.got = IF works_ /\ act THEN r ELSE output]]
        /\ Break(IF act /\ works_ /\ arrived THEN {"hanging action"} ELSE {})
  /\ holder' = IF holder = r THEN 0 ELSE holder
  /\ UNCHANGED was

\* It is rolled back: the work's own error, the database, or the end of the process.
Rollback(r) ==
  /\ req[r].state \notin Ended
  /\ req' = [req EXCEPT ![r].state = "failed"]
  /\ IF holder = r THEN row' = was[1] /\ output' = was[2] /\ holder' = 0
     ELSE UNCHANGED <<row, output, holder>>
  /\ UNCHANGED <<was, works, undos, arrived, bad>>

Act == \E r \in Requests : \/ \E kind \in {"act", "undo"} : Arrive(r, kind)
                           \/ Look(r) \/ Commit(r) \/ Rollback(r)
Next == Act /\ broken' = broken

-----------------------------------------------------------------------------
\* The work happens once, and is undone once, with its own output.
Once == Cardinality(works) <= 1 /\ Cardinality(undos) <= 1

\* A null compensation does nothing; a compensation gets the output of the action, also where the engine had none.
NullCompensation == \A u \in undos : u[2] \in works

\* The action that comes after its compensation is refused.
HangingAction == /\ "hanging action" \notin bad
                 /\ arrived => works = {} \/ undos # {}

\* A repeated action gets the output of the first.
Repeats == \A r \in Requests : req[r].reply = "output" => req[r].got \in works

Failing == {p[1] : p \in {x \in {<<"Once", Once>>, <<"NullCompensation", NullCompensation>>,
                                 <<"HangingAction", HangingAction>>, <<"Repeats", Repeats>>} : ~x[2]}}

ASSUME TLCSet(1, {}) /\ TLCSet(2, {})

Escapes ==
  IF Failing = {} THEN broken \notin TLCGet(1)
  ELSE /\ broken \in TLCGet(1) \/ PrintT(<<"caught", broken, Failing>>)
       /\ TLCSet(1, TLCGet(1) \cup {broken})
       /\ FALSE

Replies(kind, reply) == \E r \in Requests : req[r].kind = kind /\ req[r].reply = reply

Sights == {
  <<"done and undone", row = "undone" /\ \E u \in undos : u[2] \in works>>,
  <<"a null compensation", row = "refused" /\ Replies("undo", "ok")>>,
  <<"a hanging action is refused", row = "refused" /\ Replies("act", "refused")>>,
  <<"an action is refused after its undo", row = "undone" /\ Replies("act", "refused")>>,
  <<"a repeated action", \E r \in Requests : req[r].reply = "output" /\ req[r].got # r>>,
  <<"a repeated compensation", \E r \in Requests : req[r].kind = "undo" /\ req[r].reply = "ok"
     /\ \E u \in undos : u[1] # r>>,
  <<"done after a rollback", works # {} /\ \E r \in Requests : req[r].kind = "act" /\ req[r].state = "failed">>,
  <<"undone after a rollback", undos # {} /\ \E r \in Requests : req[r].kind = "undo" /\ req[r].state = "failed">> }

Seen == LET new == {x[1] : x \in {y \in Sights : y[2]}} \ TLCGet(2)
        IN new = {} \/ (PrintT(<<"seen", new>>) /\ TLCSet(2, TLCGet(2) \cup new))
=============================================================================

------------------------------- MODULE Start --------------------------------
(***************************************************************************)
(* Starting once (P10): several callers start instances under one start    *)
(* key, each again and again until it hears what became of it, with ids    *)
(* that are chosen before the first try.                                   *)
(*                                                                         *)
(* Abstracted away: what an instance does; it ends, and its key is free    *)
(* again when retention removes it.                                        *)
(***************************************************************************)
EXTENDS Naturals, FiniteSets, TLC

CONSTANTS
  Callers,    \* each with an id of its own
  Inputs,     \* a caller starts with one of these
  Prunes,     \* whether retention removes instances that have ended
  Mutations

VARIABLES
  stored,     \* instances: id and input
  key,        \* whose the start key is, or "none"
  ended,      \* ids of instances that have ended
  asked,      \* by caller: the input it starts with, or "none"
  reply,      \* by caller: "none", "new", the id of another's, or "conflict"
  removed,    \* ids that were removed
  broken

vars == <<stored, key, ended, asked, reply, removed, broken>>

Has(id) == \E s \in stored : s.id = id
InputOf(id) == (CHOOSE s \in stored : s.id = id).input

Init == /\ stored = {} /\ key = "none" /\ ended = {} /\ removed = {}
        /\ asked = [c \in Callers |-> "none"] /\ reply = [c \in Callers |-> "none"]
        /\ broken \in Mutations

Ask(c, input) ==
  /\ asked[c] = "none"
  /\ asked' = [asked EXCEPT ![c] = input]
  /\ UNCHANGED <<stored, key, ended, reply, removed>>

\* `Data::accept`, `Data::existing`; a conflict of inputs is found by the engine, in `engine/start.rs`.
Answer(c) ==
  IF Has(c) /\ broken # "no_own_id" THEN "new"
  ELSE IF key = "none" \/ broken = "no_key" THEN "new"
  ELSE IF InputOf(key) = asked[c] \/ broken = "no_digest" THEN key
  ELSE "conflict"

Stores(c) == ~Has(c) /\ (key = "none" \/ broken = "no_key")

Apply(c) ==
  /\ stored' = IF Stores(c) THEN stored \cup {[id |-> c, input |-> asked[c]]} ELSE stored
  /\ key' = IF Stores(c) THEN c ELSE key

\* A try whose reply is heard; or is lost, and then it is made again.
Try(c) ==
  /\ asked[c] # "none" /\ reply[c] = "none" /\ c \notin removed
  /\ Apply(c)
  /\ reply' \in {reply, [reply EXCEPT ![c] = Answer(c)]}
  /\ UNCHANGED <<ended, asked, removed>>

End(id) == /\ Has(id) /\ id \notin ended /\ ended' = ended \cup {id}
           /\ UNCHANGED <<stored, key, asked, reply, removed>>

\* `Data::prune`: a key lives as long as its instance.
Prune(id) ==
  /\ Prunes /\ id \in ended /\ Has(id)
  /\ stored' = {s \in stored : s.id # id} /\ removed' = removed \cup {id}
  /\ key' = IF key = id THEN "none" ELSE key
  /\ UNCHANGED <<ended, asked, reply>>

Act == \E c \in Callers : \/ \E input \in Inputs : Ask(c, input)
                          \/ Try(c) \/ End(c) \/ Prune(c)
Next == Act /\ broken' = broken

-----------------------------------------------------------------------------
\* P10: at most one instance under the key.
Once == Cardinality(stored) <= 1 /\ (stored # {} => Has(key))

\* Who is told of a new one has it, and who is told of another's has one with his input; nobody else's is replaced.
Told == \A c \in Callers :
  /\ reply[c] = "new" => Has(c) \/ c \in removed
  /\ reply[c] \in Callers => reply[c] # c
  /\ reply[c] \in Callers /\ Has(reply[c]) => InputOf(reply[c]) = asked[c]

Failing == {p[1] : p \in {x \in {<<"Once", Once>>, <<"Told", Told>>} : ~x[2]}}

ASSUME TLCSet(1, {}) /\ TLCSet(2, {})

Escapes ==
  IF Failing = {} THEN broken \notin TLCGet(1)
  ELSE /\ broken \in TLCGet(1) \/ PrintT(<<"caught", broken, Failing>>)
       /\ TLCSet(1, TLCGet(1) \cup {broken})
       /\ FALSE

Sights == {
  <<"another's", \E c \in Callers : reply[c] \in Callers>>,
  <<"a conflict", \E c \in Callers : reply[c] = "conflict">>,
  <<"the key once more", removed # {} /\ stored # {}>> }

Seen == LET new == {x[1] : x \in {y \in Sights : y[2]}} \ TLCGet(2)
        IN new = {} \/ (PrintT(<<"seen", new>>) /\ TLCSet(2, TLCGet(2) \cup new))
=============================================================================

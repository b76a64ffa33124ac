------------------------------- MODULE Graphs -------------------------------
(***************************************************************************)
(* The sagas that the models and the traces are about, by name: what       *)
(* `definition.rs` has as tables.                                          *)
(***************************************************************************)
EXTENDS FiniteSets

None == "none"

(* deps: what a step depends on.  after: the undos that have to end before *)
(* that of the step.  pivot: None, or a step.  noComp: steps before the    *)
(* pivot that say `no_compensation`.  insists: steps whose compensation    *)
(* takes the output and not `Option` of it.                                *)
GraphOf(name) ==
  CASE name = "single" ->
         [deps |-> [a |-> {}], after |-> [a |-> {}], pivot |-> None, noComp |-> {}, insists |-> {}]
    [] name = "chain" ->
         [deps |-> [a |-> {}, b |-> {"a"}], after |-> [a |-> {}, b |-> {}],
          pivot |-> None, noComp |-> {}, insists |-> {}]
    [] name = "diamond" ->
         [deps |-> [a |-> {}, b |-> {"a"}, c |-> {"a"}, d |-> {"b", "c"}],
          after |-> [a |-> {}, b |-> {}, c |-> {}, d |-> {}],
          pivot |-> None, noComp |-> {}, insists |-> {}]
    [] name = "fork" ->
         [deps |-> [a |-> {}, b |-> {"a"}, c |-> {"a"}],
          after |-> [a |-> {}, b |-> {}, c |-> {}],
          pivot |-> None, noComp |-> {}, insists |-> {}]
    [] name = "after" ->
         [deps |-> [a |-> {}, b |-> {}, c |-> {"b"}],
          after |-> [a |-> {"b"}, b |-> {}, c |-> {}],
          pivot |-> None, noComp |-> {"c"}, insists |-> {}]
    [] name = "insisting" ->
         [deps |-> [sure |-> {}, other |-> {}],
          after |-> [sure |-> {}, other |-> {}],
          pivot |-> None, noComp |-> {}, insists |-> {"sure", "other"}]
    [] name = "pivotal" ->
         [deps |-> [a |-> {}, p |-> {"a"}, z |-> {"p"}],
          after |-> [a |-> {}, p |-> {}, z |-> {}],
          pivot |-> "p", noComp |-> {}, insists |-> {}]
=============================================================================

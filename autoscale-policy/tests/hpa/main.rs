//! `TargetTracking` beside the documented algorithm of Kubernetes' HPA
//! (kubernetes.io, "Horizontal Pod Autoscaling": algorithm details, readiness and
//! missing metrics, configurable scaling behavior), as it is since 1.33: a tolerance for
//! each direction, whose edges are within it (on by default since 1.35). Where the text
//! leaves something open (which edges count, what is rounded, what is remembered), the
//! derivations follow what `pkg/controller/podautoscaler` of Kubernetes does: its
//! calculator with the tolerances of 1.33 and the pod requests of 1.34, and its controller
//! as it was in 1.31 and 1.32, of which the text of 1.35 says nothing else. Every case
//! carries its derivation, worked out by hand.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod averages;
mod behavior;
mod missing;
mod plain;
mod several;
mod totals;
mod unready;
mod utilisation;
mod world;

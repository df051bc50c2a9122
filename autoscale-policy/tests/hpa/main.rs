//! `TargetTracking` beside the documented algorithm of Kubernetes' HPA
//! (kubernetes.io, "Horizontal Pod Autoscaling": algorithm details, readiness and
//! missing metrics, configurable scaling behavior; tolerances as of 1.35). Every case
//! carries its derivation, worked out by hand from that text.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod averages;
mod behavior;
mod missing;
mod several;
mod totals;
mod unready;
mod utilisation;
mod world;

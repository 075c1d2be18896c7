//! Whole runs on the cluster, each in a namespace of its own, all side by side: one program, so that the machine is busy until the last of
//! them has ended. What measures times (`conformance`, `waiting`), disturbs the cluster (`restarts`) or touches every
//! TaskRun of it (`chains`) is a program of its own and runs before or after.

mod documents;
mod examples;
mod input;
mod limits;
mod offline;
mod path;
mod policies;
mod schema;
mod workspaces;

//! A run with all that it needs on this machine: the limits looked at, the cluster started, the run, the cluster ended.

use std::sync::Arc;

use common::shutdown::Shutdown;

use crate::cluster::{Cluster, Spec};
use crate::layout::{Asked, Gateways, Layout};
use crate::limits::Limits;
use crate::limits::finding::count;
use crate::plan::{BadPlan, Plan};
use crate::progress::Progress;
use crate::report::Report;
use crate::run::{Error, run_with};

/// A run that was found to fit this machine.
#[derive(Debug)]
pub struct Stage {
    plan: Plan,
    /// The cluster to start; `None`: one runs already.
    cluster: Option<Spec>,
    /// `None`: the clients are not on this machine.
    layout: Option<Layout>,
}

impl Stage {
    /// Checks a plan against the limits of this machine. With a cluster to start, the plan's gateways and logic nodes are
    /// those that will be started.
    ///
    /// # Errors
    /// What is wrong with the plan, or which limits do not suffice and how many clients would fit.
    pub fn prepare(plan: Plan, cluster: Option<Spec>, limits: &Limits) -> Result<Self, Error> {
        let mut checked = plan.clone();
        if cluster.is_some() {
            // Where they will be is not known before they run.
            (checked.gateways, checked.logics) =
                (vec!["ws://127.0.0.1:1".into()], vec!["http://127.0.0.1:1".into()]);
            checked.expect_churn.retain(|name| name == "all");
        }
        checked.check().map_err(Error::Plan)?;
        if plan.remote.is_some() {
            return match cluster {
                None => Ok(Self { plan, cluster, layout: None }),
                Some(_) => Err(Error::Plan(BadPlan(
                    "agents on other machines do not reach a cluster that is started on 127.0.0.1: name one with --target"
                        .into(),
                ))),
            };
        }
        let asked = asked(&plan, cluster.as_ref());
        let layout = Layout::plan(&asked, limits).map_err(|short| {
            let mut lines: Vec<_> = short.iter().map(ToString::to_string).collect();
            lines.push(match Layout::most(&asked, limits) {
                0 => "nothing fits on this machine as it is; tidegate-loadtest doctor says more".to_owned(),
                most => format!("--connections {most} would fit ({})", count(most.into())),
            });
            Error::Limits(lines.join("\n"))
        })?;
        Ok(Self { plan, cluster, layout: Some(layout) })
    }

    /// How it is laid out on this machine.
    #[must_use]
    pub fn layout(&self) -> Option<&Layout> {
        self.layout.as_ref()
    }

    /// Starts the cluster, if there is one to start, runs, and ends the cluster whatever came of the run.
    ///
    /// # Errors
    /// As [`run_with`], and what kept the cluster from starting.
    pub async fn run(self, shutdown: &Shutdown, progress: Arc<Progress>) -> Result<Report, Error> {
        let Self { mut plan, cluster, layout } = self;
        if let Some(layout) = &layout {
            plan.processes = layout.agents;
        }
        let (Some(spec), Some(layout)) = (cluster, layout) else {
            return Box::pin(run_with(plan, shutdown, progress)).await;
        };
        let spec = Spec { gateways: layout.gateways, ..spec };
        let started = shutdown.or_draining(Box::pin(Cluster::start(&spec))).await;
        let cluster =
            started.unwrap_or_else(|| Err(Error::Broken("ended while the cluster was starting".into())))?;
        (plan.gateways, plan.logics) = (cluster.gateways(), cluster.logics());
        plan.source_addresses = match plan.source_addresses {
            0 => layout.source_addresses,
            asked => asked,
        };
        let ended = Box::pin(run_with(plan, shutdown, progress)).await;
        let fallen = cluster.stop().await;
        match ended {
            Ok(mut report) => {
                report.notes.extend(fallen);
                Ok(report)
            }
            Err(error) if fallen.is_empty() => Err(error),
            Err(error) => Err(explained(error, &fallen)),
        }
    }
}

/// What a plan asks of this machine.
fn asked(plan: &Plan, cluster: Option<&Spec>) -> Asked {
    let gateways = match cluster {
        Some(spec) => Gateways::Here(spec.gateways),
        None => Gateways::Elsewhere(u32::try_from(plan.gateways.len()).unwrap_or(u32::MAX)),
    };
    let publishers = plan.publisher_connections * plan.logics.len().max(1);
    Asked {
        clients: plan.clients,
        gateways,
        agents: plan.processes,
        publishers: u32::try_from(publishers).unwrap_or(u32::MAX),
        connects_in_flight: plan.connects_in_flight,
    }
}

/// An error of the run with what its cluster says to it.
fn explained(error: Error, fallen: &[String]) -> Error {
    let with = |text: String| [&[text][..], fallen].concat().join("\n");
    match error {
        Error::Plan(BadPlan(text)) => Error::Plan(BadPlan(with(text))),
        Error::Limits(text) => Error::Limits(with(text)),
        Error::Unreachable(text) => Error::Unreachable(with(text)),
        Error::Broken(text) => Error::Broken(with(text)),
    }
}

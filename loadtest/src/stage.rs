//! A run with all that it needs on this machine: the limits looked at, the cluster started, the run, the cluster ended.

use std::convert::Infallible;
use std::sync::Arc;

use common::shutdown::Shutdown;
use tokio::sync::mpsc::{self, Receiver};

use crate::cluster::{Cluster, Spec};
use crate::layout::{Asked, Gateways, Layout};
use crate::limits::Limits;
use crate::limits::finding::count;
use crate::plan::{BadPlan, Event, Plan};
use crate::progress::Progress;
use crate::report::Report;
use crate::run::{Error, run_with};

/// Events that may wait while one happens.
const EVENTS_MAX: usize = 64;

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
            check_events(&plan, None)?;
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
        check_events(&plan, cluster.as_ref().map(|_| layout.gateways))?;
        Ok(Self { plan, cluster, layout: Some(layout) })
    }

    /// How it is laid out on this machine.
    #[must_use]
    pub fn layout(&self) -> Option<&Layout> {
        self.layout.as_ref()
    }

    /// For how long is published.
    #[must_use]
    pub fn duration(&self) -> std::time::Duration {
        self.plan.duration
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
        let mut cluster =
            started.unwrap_or_else(|| Err(Error::Broken("ended while the cluster was starting".into())))?;
        (plan.gateways, plan.logics) = (cluster.gateways(), cluster.logics());
        plan.source_addresses = match plan.source_addresses {
            0 => layout.source_addresses,
            asked => asked,
        };
        let (to, events) = mpsc::channel(EVENTS_MAX);
        plan.watched.extend(cluster.watched());
        plan.expect_churn.extend(killed(&plan, &cluster));
        plan.events.to = Some(to);
        let mut notes = Vec::new();
        let ended = tokio::select! {
            ended = Box::pin(run_with(plan, shutdown, progress.clone())) => ended,
            never = act(&mut cluster, events, &progress, &mut notes) => match never {},
        };
        let fallen = [notes, cluster.stop().await].concat();
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

/// Makes events happen, for as long as it is asked.
async fn act(
    cluster: &mut Cluster,
    mut events: Receiver<Event>,
    progress: &Progress,
    notes: &mut Vec<String>,
) -> Infallible {
    while let Some(event) = events.recv().await {
        match event {
            Event::KillGateway(number) => cluster.kill_gateway(number).await,
            Event::StartGateway(number) => match cluster.restart_gateway(number).await {
                Ok(newcomer) => newcomer.into_iter().for_each(|newcomer| progress.joins(newcomer)),
                Err(error) => notes.push(format!("gateway-{number} did not come back: {error}")),
            },
        }
    }
    std::future::pending().await
}

/// The gateways that will be killed: what their clients miss meanwhile is excused.
fn killed(plan: &Plan, cluster: &Cluster) -> Vec<String> {
    let gateways = cluster.gateways();
    let killed = plan.events.at.iter().filter_map(|(_, event)| match event {
        Event::KillGateway(number) => gateways.get(*number).cloned(),
        Event::StartGateway(_) => None,
    });
    killed.collect()
}

/// Checks that events are for gateways that will be there.
fn check_events(plan: &Plan, gateways: Option<u32>) -> Result<(), Error> {
    let bad = |text: String| Err(Error::Plan(BadPlan(text)));
    for (_, event) in &plan.events.at {
        let (Event::KillGateway(number) | Event::StartGateway(number)) = event;
        match gateways {
            None => {
                return bad(
                    "events happen to a cluster that is started here; the one of --target is not ours".into(),
                );
            }
            Some(most) if *number >= most as usize => {
                return bad(format!(
                    "there is no gateway-{number}: of {most} the last is gateway-{}",
                    most - 1
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
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

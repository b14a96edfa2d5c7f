//! What is asked of gateways on behalf of a caller: of one, of those that hold somebody it is about, or of all.
//!
//! An answer is whole or says what it lacks. A gateway without a link may hold anybody, so it is named among the
//! failed; one that has a link and does not answer in time ends the call with its name.

pub(crate) mod cursor;
pub(crate) mod desk;
pub(crate) mod list;

use std::sync::Arc;
use std::time::Duration;

use common::ids::{ClientId, Instance};
use common::link::ask::answer::Body as Said;
use common::link::ask::ask::Body as Asked;
use common::link::ask::{Act, Change, Changed, Drain, ListClients, Scope, Whose};
use common::names::Kind;
use tokio::time::{Instant, timeout_at};

use crate::fleet::Fleet;
use crate::publish::Publisher;
use desk::{Desk, NotPut, Put};

/// A change may take so many times as long as a question: a room of a million is dissolved in seconds.
const CHANGE_TIMES: u32 = 5;

/// Gateways that have nothing to say, and why.
pub(crate) type Failed = Vec<(Arc<str>, &'static str)>;

/// An answer, and whose part of it is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whole<T> {
    pub(crate) value: T,
    pub(crate) failed: Failed,
}

impl<T> Whole<T> {
    /// The same with another value.
    pub(crate) fn map<U>(self, map: impl FnOnce(T) -> U) -> Whole<U> {
        Whole { value: map(self.value), failed: self.failed }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// No gateway is known.
    NoGateway,
    /// None of those it concerns has a link.
    Away(Failed),
    /// This gateway did not answer in time.
    Late(Arc<str>),
    /// Too many questions wait for this gateway.
    Busy(Arc<str>),
    /// This gateway does not understand the question.
    Outdated(Arc<str>),
    /// A gateway has just been linked and still says what it holds, or one is still being forgotten.
    Opening,
    /// There are too many to count one by one.
    TooMany,
    /// Whom it is about is not there.
    Nobody,
    /// Several gateways have that name.
    Ambiguous,
}

/// Asks gateways.
#[derive(Debug)]
pub(crate) struct Inquirer {
    publisher: Arc<Publisher>,
    fleet: Arc<Fleet>,
    answer_time_max: Duration,
}

/// A gateway with a link.
#[derive(Debug, Clone)]
struct Member {
    label: Arc<str>,
    address: Arc<str>,
    instance: Instance,
    desk: Arc<Desk>,
}

/// The gateways that a question concerns.
#[derive(Debug)]
struct Crew {
    members: Vec<Member>,
    failed: Failed,
}

impl Inquirer {
    /// One who asks the gateways that the publisher has links to.
    pub(crate) fn new(publisher: Arc<Publisher>, fleet: Arc<Fleet>, answer_time_max: Duration) -> Self {
        Self { publisher, fleet, answer_time_max }
    }

    /// The gateways that hold a name, or all.
    fn crew(&self, holds: Option<(Kind, &str)>) -> Result<Crew, Unanswered> {
        let mut crew = Crew { members: Vec::new(), failed: Vec::new() };
        let mut away = Vec::new();
        let known = self.publisher.with_roster(|roster| {
            let mut holders = Vec::new();
            if let Some((kind, name)) = holds {
                roster.routing.holders(kind, name, &mut holders);
            }
            let mut known = 0;
            for gateway in roster.counted() {
                known += 1;
                match &gateway.link {
                    Ok(linked) if holds.is_none() || holders.contains(&linked.id) => {
                        crew.members.push(Member {
                            label: gateway.label.clone(),
                            address: gateway.address.clone(),
                            instance: linked.instance,
                            desk: linked.desk.clone(),
                        });
                    }
                    Ok(_) => {}
                    Err(code) => away.push((gateway.address.clone(), gateway.label.clone(), *code)),
                }
            }
            known
        });
        if known == 0 {
            return Err(Unanswered::NoGateway);
        }
        if !away.is_empty() {
            // One that said good-bye and went holds nobody.
            let left = self.fleet.left();
            away.retain(|(address, ..)| !left.contains(address));
        }
        crew.failed = away.into_iter().map(|(_, label, code)| (label, code)).collect();
        crew.members.sort_unstable_by_key(|member| member.instance);
        Ok(crew)
    }

    /// The gateways that may hold somebody of a scope.
    fn holders(&self, scope: &Scope) -> Result<Crew, Unanswered> {
        let app = scope.app.map(|app| app.to_string());
        match Whose::try_from(scope.whose) {
            Ok(Whose::Room) => self.crew(Some((Kind::Room, &scope.name))),
            Ok(Whose::User) => self.crew(Some((Kind::User, &scope.name))),
            _ => self.crew(app.as_deref().map(|app| (Kind::App, app))),
        }
    }

    /// Asks all of a crew at once.
    async fn ask_all(
        &self,
        crew: Crew,
        body: &Asked,
        time_max: Duration,
    ) -> Result<Whole<Vec<Said>>, Unanswered> {
        let until = Instant::now() + time_max;
        let Crew { members, mut failed } = crew;
        let mut put = Vec::with_capacity(members.len());
        for member in members {
            match member.desk.put(body.clone()) {
                Ok(question) => put.push((member.label, question)),
                Err(NotPut::Closed) => failed.push((member.label, "link_lost")),
                Err(NotPut::Full) => return Err(Unanswered::Busy(member.label)),
            }
        }
        let mut value = Vec::with_capacity(put.len());
        for (label, question) in put {
            match said(&label, question, until).await? {
                Some(answer) => value.push(answer),
                None => failed.push((label, "link_lost")),
            }
        }
        if value.is_empty() && !failed.is_empty() {
            Err(Unanswered::Away(failed))
        } else {
            Ok(Whole { value, failed })
        }
    }

    /// Asks the gateway of a client.
    async fn ask_of(
        &self,
        client: ClientId,
        body: Asked,
        time_max: Duration,
    ) -> Result<(Arc<str>, Said), Unanswered> {
        let Crew { members, failed } = self.crew(None)?;
        let nobody = || if failed.is_empty() { Unanswered::Nobody } else { Unanswered::Away(failed.clone()) };
        let member =
            members.into_iter().find(|member| member.instance == client.gateway).ok_or_else(nobody)?;
        let lost = || Unanswered::Away(vec![(member.label.clone(), "link_lost")]);
        let question = member.desk.put(body).map_err(|not_put| match not_put {
            NotPut::Full => Unanswered::Busy(member.label.clone()),
            NotPut::Closed => lost(),
        })?;
        let answer = said(&member.label, question, Instant::now() + time_max).await?.ok_or_else(lost)?;
        Ok((member.label, answer))
    }

    /// One connection, with its rooms.
    pub(crate) async fn client(&self, client: ClientId) -> Result<list::Client, Unanswered> {
        let asked = ListClients { scope: Scope::client(client.local), from: 0, limit: 1 };
        match self.ask_of(client, Asked::Clients(asked), self.answer_time_max).await? {
            (gateway, Said::Clients(page)) => {
                let found = page.clients.into_iter().next().ok_or(Unanswered::Nobody)?;
                Ok(list::Client { gateway, instance: client.gateway, seen: found })
            }
            (gateway, _) => Err(Unanswered::Outdated(gateway)),
        }
    }

    /// How many connections there are.
    pub(crate) async fn count(&self, scope: &Scope) -> Result<Whole<u64>, Unanswered> {
        let crew = self.holders(scope)?;
        let answers = self.ask_all(crew, &Asked::Count(scope.clone()), self.answer_time_max).await?;
        let count = |said: &Said| if let Said::Count(count) = said { *count } else { 0 };
        Ok(answers.map(|answers| answers.iter().map(count).sum()))
    }

    /// Changes connections.
    pub(crate) async fn change(
        &self,
        scope: Scope,
        act: Act,
        name: &str,
    ) -> Result<Whole<Changed>, Unanswered> {
        let crew = self.holders(&scope)?;
        let change = Change { scope, act: act as i32, name: name.to_owned(), app: None };
        let answers = self.ask_all(crew, &Asked::Change(change), self.change_time_max()).await?;
        Ok(answers.map(|answers| answers.iter().fold(Changed::default(), sum)))
    }

    /// Changes one connection.
    pub(crate) async fn change_one(
        &self,
        client: ClientId,
        act: Act,
        name: &str,
        app: Option<u32>,
    ) -> Result<Changed, Unanswered> {
        let scope = Scope::client(client.local);
        let change = Change { scope, act: act as i32, name: name.to_owned(), app };
        let (_, said) = self.ask_of(client, Asked::Change(change), self.change_time_max()).await?;
        let changed = sum(Changed::default(), &said);
        if changed.matched == 0 { Err(Unanswered::Nobody) } else { Ok(changed) }
    }

    /// Tells a gateway, by its name, run or address, to go; its name, and whether that was news.
    pub(crate) async fn drain(&self, gateway: &str) -> Result<(Arc<str>, bool), Unanswered> {
        let Crew { members, failed } = self.crew(None)?;
        let is_it = |member: &Member| {
            *member.label == *gateway || *member.address == *gateway || member.instance.to_string() == gateway
        };
        let mut found = members.into_iter().filter(is_it);
        let Some(member) = found.next() else {
            let away: Failed = failed.into_iter().filter(|(label, _)| **label == *gateway).collect();
            return Err(if away.is_empty() { Unanswered::Nobody } else { Unanswered::Away(away) });
        };
        if found.next().is_some() {
            return Err(Unanswered::Ambiguous);
        }
        let label = member.label.clone();
        let crew = Crew { members: vec![member], failed: Vec::new() };
        let answers = self.ask_all(crew, &Asked::Drain(Drain {}), self.answer_time_max).await?;
        Ok((label, answers.value.iter().fold(Changed::default(), sum).changed > 0))
    }

    fn change_time_max(&self) -> Duration {
        self.answer_time_max * CHANGE_TIMES
    }
}

fn sum(sum: Changed, said: &Said) -> Changed {
    let Said::Changed(more) = said else { return sum };
    Changed {
        matched: sum.matched + more.matched,
        changed: sum.changed + more.changed,
        refused: sum.refused + more.refused,
    }
}

/// Waits for an answer; `None` if the link ended before.
async fn said(label: &Arc<str>, question: Put, until: Instant) -> Result<Option<Said>, Unanswered> {
    match timeout_at(until, question.answered()).await {
        Err(_) => Err(Unanswered::Late(label.clone())),
        Ok(Some(Said::Failed(failed))) if failed.code == "busy" => Err(Unanswered::Busy(label.clone())),
        Ok(Some(Said::Failed(_))) => Err(Unanswered::Outdated(label.clone())),
        Ok(answer) => Ok(answer),
    }
}

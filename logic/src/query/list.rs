//! Lists of the whole cluster, a page at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::ids::{ClientId, Instance};
use common::link::ask::answer::Body as Said;
use common::link::ask::ask::Body as Asked;
use common::link::ask::{self, ListClients, ListNames, NamePlace, PAGE_MAX, Scope};
use common::names::Kind;
use tokio::time::{Instant, sleep};

use super::cursor::{self, ClientPlace};
use super::desk::NotPut;
use super::{Crew, Inquirer, Unanswered, Whole};

/// Names that are counted one by one, those of an application, may take so many times as long as a question.
const WALK_TIMES: u32 = 10;

/// How often it is looked whether the routing table is at rest.
const REST_LOOK_EVERY: Duration = Duration::from_millis(5);

/// One connection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Client {
    /// The name of its gateway.
    pub(crate) gateway: Arc<str>,
    /// The run of it.
    pub(crate) instance: Instance,
    /// What the gateway says.
    pub(crate) seen: ask::Client,
}

impl Client {
    /// Its id.
    pub(crate) fn id(&self) -> ClientId {
        ClientId { gateway: self.instance, local: self.seen.local }
    }
}

/// A part of a list, and where it goes on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Page<T> {
    pub(crate) entries: Vec<T>,
    pub(crate) cursor: Option<String>,
}

/// A cursor that is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadCursor;

/// A place among connections, from a caller's cursor.
pub(crate) fn client_place(cursor: &str) -> Result<ClientPlace, BadCursor> {
    ClientPlace::decode(cursor).ok_or(BadCursor)
}

/// A place among names, from a caller's cursor.
pub(crate) fn name_place(cursor: &str) -> Result<NamePlace, BadCursor> {
    cursor::decode_name(cursor).ok_or(BadCursor)
}

impl Inquirer {
    /// A page of connections: one gateway after the other, in the order of their runs.
    pub(crate) async fn clients(
        &self,
        scope: &Scope,
        after: Option<ClientPlace>,
        limit: usize,
    ) -> Result<Whole<Page<Client>>, Unanswered> {
        let Crew { members, mut failed } = self.holders(scope)?;
        if members.is_empty() && !failed.is_empty() {
            return Err(Unanswered::Away(failed));
        }
        let until = Instant::now() + self.answer_time_max;
        let begin = after.unwrap_or(ClientPlace { gateway: Instance(0), from: 0 });
        let mut entries = Vec::new();
        let mut next = None;
        let mut members = members.into_iter().filter(|member| member.instance >= begin.gateway).peekable();
        'gateways: while let Some(member) = members.next() {
            let mut from = if member.instance == begin.gateway { begin.from } else { 0 };
            loop {
                let left = u32::try_from(limit - entries.len()).unwrap_or(PAGE_MAX);
                let asked = ListClients { scope: scope.clone(), from, limit: left };
                let answer = match member.desk.put(Asked::Clients(asked)) {
                    Ok(question) => super::said(&member.label, question, until).await,
                    Err(NotPut::Closed) => Ok(None),
                    Err(NotPut::Full) => Err(Unanswered::Busy(member.label.clone())),
                };
                let page = match answer {
                    Ok(Some(Said::Clients(page))) => page,
                    Ok(Some(_)) => return Err(Unanswered::Outdated(member.label)),
                    Ok(None) => {
                        failed.push((member.label.clone(), "link_lost"));
                        break;
                    }
                    // A long list of few: what there is so far is a page, and the next one goes on from there.
                    Err(Unanswered::Late(_)) if from > 0 && from != begin.from => {
                        next = Some(ClientPlace { gateway: member.instance, from });
                        break 'gateways;
                    }
                    Err(unanswered) => return Err(unanswered),
                };
                entries.extend(page.clients.into_iter().map(|seen| Client {
                    gateway: member.label.clone(),
                    instance: member.instance,
                    seen,
                }));
                if entries.len() >= limit {
                    let here = page.next.map(|from| ClientPlace { gateway: member.instance, from });
                    let there = members.peek().map(|next| ClientPlace { gateway: next.instance, from: 0 });
                    next = here.or(there);
                    break 'gateways;
                }
                match page.next {
                    Some(next) => from = next,
                    None => break,
                }
            }
        }
        let cursor = next.map(ClientPlace::encode);
        Ok(Whole { value: Page { entries, cursor }, failed })
    }

    /// A page of names, each once with its connections at all gateways.
    pub(crate) async fn names(
        &self,
        kind: Kind,
        app: Option<u32>,
        after: Option<NamePlace>,
        limit: usize,
    ) -> Result<Whole<Page<(String, u64)>>, Unanswered> {
        let (page, next) = self.merged(kind, app, after, limit).await?;
        let cursor = next.as_ref().map(cursor::encode_name);
        Ok(page.map(|entries| Page { entries, cursor }))
    }

    /// The same with the place.
    ///
    /// Each gateway says its next names and up to where they are all it has. What lies before the nearest of these
    /// places is known of all of them.
    async fn merged(
        &self,
        kind: Kind,
        app: Option<u32>,
        mut after: Option<NamePlace>,
        limit: usize,
    ) -> Result<(Whole<Vec<(String, u64)>>, Option<NamePlace>), Unanswered> {
        let until = Instant::now() + self.answer_time_max;
        loop {
            let asked_limit = u32::try_from(limit).unwrap_or(PAGE_MAX);
            let asked = ListNames { kind: kind as i32, app, after: after.clone(), limit: asked_limit };
            let crew = self.holders(&Scope::all(app))?;
            let Whole { value, failed } =
                self.ask_all(crew, &Asked::Names(asked), self.answer_time_max).await?;
            let mut sums: BTreeMap<NamePlace, u64> = BTreeMap::new();
            let mut nearest: Option<NamePlace> = None;
            for said in value {
                let Said::Names(names) = said else { continue };
                for name in names.names {
                    *sums.entry(NamePlace::of(&name.name)).or_default() += name.clients;
                }
                nearest = match (nearest, names.upto) {
                    (Some(one), Some(other)) => Some(one.min(other)),
                    (one, other) => one.or(other),
                };
            }
            if let Some(nearest) = &nearest {
                sums.retain(|place, _| place <= nearest);
            }
            let has_more = sums.len() > limit;
            let last = has_more.then(|| sums.keys().nth(limit - 1).cloned()).flatten();
            let next = last.or(nearest);
            if sums.is_empty() && next.is_some() && Instant::now() < until {
                after = next;
                continue;
            }
            let entries =
                sums.into_iter().take(limit).map(|(place, clients)| (place.name, clients)).collect();
            return Ok((Whole { value: entries, failed }, next));
        }
    }

    /// How many names of a kind there are. Without an application the routing table knows; with one, they are
    /// counted one by one.
    pub(crate) async fn unique(&self, kind: Kind, app: Option<u32>) -> Result<Whole<u64>, Unanswered> {
        if app.is_none() {
            return self.routed(kind).await;
        }
        let until = Instant::now() + self.answer_time_max * WALK_TIMES;
        let (mut sum, mut after) = (0, None);
        loop {
            let (page, next) = self.merged(kind, app, after, PAGE_MAX as usize).await?;
            sum += page.value.len() as u64;
            match next {
                None => return Ok(Whole { value: sum, failed: page.failed }),
                Some(_) if Instant::now() > until => return Err(Unanswered::TooMany),
                Some(place) => after = Some(place),
            }
        }
    }

    /// Waits until no link is being told or cleaned away: then the routing table has every name once.
    async fn routed(&self, kind: Kind) -> Result<Whole<u64>, Unanswered> {
        let crew = self.crew(None)?;
        let until = Instant::now() + self.answer_time_max;
        loop {
            let (count, is_at_rest) = self
                .publisher
                .with_roster(|roster| (roster.routing.count(kind), roster.routing.is_at_rest()));
            if is_at_rest {
                return Ok(Whole { value: count as u64, failed: crew.failed });
            }
            if Instant::now() > until {
                return Err(Unanswered::Opening);
            }
            sleep(REST_LOOK_EVERY).await;
        }
    }
}

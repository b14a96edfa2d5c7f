//! The arithmetic of the model.

use super::{Answer, Bound, Constants, Question, Stream, Widened};

/// Payload of a full TCP segment on Ethernet with timestamps.
const SEGMENT_BYTES: f64 = 1_448.0;

/// Largest number of clients of one gateway for which the constants were seen to hold.
const CLIENTS_MEASURED: u64 = 19_000;

/// Fewer gateways are shown down to an eighth.
const HALVINGS: u32 = 3;

/// What of a second one gateway's CPU is spent on, µs.
struct Costs<'a> {
    question: &'a Question,
    constants: &'a Constants,
}

impl Costs<'_> {
    /// Bytes of an item in a frame.
    fn item_bytes(&self) -> f64 {
        self.question.size as f64 + self.constants.item_overhead.value
    }

    fn per_byte_us(&self) -> f64 {
        self.constants.frame_cpu_us_per_kib.value / 1024.0
    }

    fn stream(&self, frames_per_second: f64) -> Stream {
        let items = self.question.items_per_second;
        let items_per_frame = if frames_per_second > 0.0 { items / frames_per_second } else { 0.0 };
        let window_secs = if frames_per_second > 0.0 { 1.0 / frames_per_second } else { 0.0 };
        Stream {
            frames_per_second,
            items_per_frame,
            frame_bytes: items_per_frame * self.item_bytes(),
            window_secs: window_secs.max(self.question.window.as_secs_f64()),
        }
    }

    /// Frames that a client gets a second when nothing is short: one a window, but none without an item.
    fn frames_wanted(&self) -> f64 {
        let items = self.question.items_per_second;
        let window = self.question.window.as_secs_f64();
        if window > 0.0 { items.min(1.0 / window) } else { items }
    }

    /// CPU of a gateway a client and second, µs.
    fn client_us(&self, stream: Stream) -> f64 {
        let frame = self.constants.frame_cpu_us.value + stream.frame_bytes * self.per_byte_us();
        self.constants.idle_cpu_us.value + stream.frames_per_second * frame
    }

    /// Bits on the wire to a client a second.
    fn client_bits(&self, stream: Stream) -> f64 {
        let segments = (stream.frame_bytes / SEGMENT_BYTES).ceil().max(1.0);
        let bytes = stream.frame_bytes + segments * self.constants.segment_overhead.value;
        stream.frames_per_second * bytes * 8.0
    }

    fn client_memory(&self) -> f64 {
        self.constants.client_memory.value + self.constants.kernel_memory.value
    }

    /// CPU of a node that is planned with, µs a second.
    fn node_us(&self) -> f64 {
        self.question.cores_per_node * self.question.used * 1e6
    }

    /// How many clients a gateway can have, and why not more.
    fn most(&self, stream: Stream) -> (f64, Bound) {
        let Question { memory_per_node, network_per_node, connections_per_node, used, .. } = *self.question;
        let memory = memory_per_node as f64 * used - self.constants.node_memory.value;
        let all = [
            (self.node_us() / self.client_us(stream), Bound::Cpu),
            (memory / self.client_memory(), Bound::Memory),
            (network_per_node * used / self.client_bits(stream).max(1e-9), Bound::Network),
            (connections_per_node as f64, Bound::Connections),
        ];
        all.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((1.0, Bound::Cpu))
    }

    /// What clients get from so many gateways, whose frames are as many as their CPU and network allow.
    ///
    /// CPU: `clients × (idle + f × (a + d × k × s)) = node`, where `k = items ÷ f`, so
    /// `f = (node ÷ clients − idle − d × items × s) ÷ a`; the network likewise, without the rounding of segments.
    fn widened(&self, gateways: u64) -> Widened {
        let clients = self.question.clients as f64 / gateways as f64;
        let bytes = self.question.items_per_second * self.item_bytes();
        let left_us =
            self.node_us() / clients - self.constants.idle_cpu_us.value - self.per_byte_us() * bytes;
        let by_cpu = left_us / self.constants.frame_cpu_us.value;
        let overhead = self.constants.segment_overhead.value;
        let left_bytes = self.question.network_per_node * self.question.used / 8.0 / clients
            - bytes * (1.0 + overhead / SEGMENT_BYTES);
        let frames = self.frames_wanted().min(by_cpu).min(left_bytes / overhead.max(1.0));
        let fits = frames > 0.0 && clients <= self.question.connections_per_node as f64;
        Widened {
            gateways,
            frames_per_second: if fits { frames * self.question.clients as f64 } else { 0.0 },
            stream: fits.then(|| self.stream(frames)),
        }
    }
}

pub(super) fn answer(question: &Question, constants: &Constants) -> Answer {
    let costs = Costs { question, constants };
    let stream = costs.stream(costs.frames_wanted());
    let (most, bound) = costs.most(stream);
    let gateways = (question.clients as f64 / most.max(1.0)).ceil().max(1.0) as u64;
    let clients = question.clients as f64;
    let audience = if question.audience == 0 { question.clients } else { question.audience };
    let pushes = clients * question.items_per_second / audience as f64;
    // An item goes to each gateway that holds one of its clients: of `g` gateways `g × (1 − (1 − 1/g)^audience)`.
    let all = gateways as f64;
    let reached = all * (1.0 - (1.0 - 1.0 / all).powf(audience as f64));
    let logic_us = pushes
        * (constants.push_cpu_us.value + (reached - 1.0).max(0.0) * constants.push_gateway_cpu_us.value);
    let logic_nodes = ((logic_us / costs.node_us()).ceil() as u64).max(2);
    let link_items = pushes * reached;
    let mut answer = Answer {
        question: question.clone(),
        stream,
        gateways,
        clients_per_gateway: question.clients.div_ceil(gateways),
        bound,
        gateway_cores: (clients * costs.client_us(stream) + link_items * constants.link_item_cpu_us.value)
            / 1e6,
        gateway_memory: clients * costs.client_memory() + all * constants.node_memory.value,
        client_bandwidth: clients * costs.client_bits(stream),
        pushes_per_second: pushes,
        logic_nodes,
        logic_cores: logic_us / 1e6,
        links: logic_nodes * gateways,
        link_bandwidth: link_items * costs.item_bytes() * 8.0,
        link_thread: link_items / all * constants.link_item_cpu_us.value / 1e6,
        fewer: (1..=HALVINGS)
            .map(|halving| gateways >> halving)
            .filter(|fewer| *fewer > 0)
            .map(|fewer| costs.widened(fewer))
            .collect(),
        doubts: Vec::new(),
        constants: constants.clone(),
    };
    answer.doubts = doubts(&answer);
    answer
}

fn doubts(answer: &Answer) -> Vec<String> {
    let mut doubts = Vec::new();
    if answer.clients_per_gateway > CLIENTS_MEASURED {
        doubts.push(format!(
            "{} clients a gateway: measured was up to {CLIENTS_MEASURED}; caches miss more often beyond",
            answer.clients_per_gateway
        ));
    }
    if answer.link_thread > answer.question.used {
        doubts.push(format!(
            "what comes by links is taken by one thread a gateway, of which this is {:.0} %: more gateways do not help if each item reaches all; batch on the backend's side",
            answer.link_thread * 100.0
        ));
    }
    if answer.links > 10_000 {
        doubts.push(format!("{} links: measured was a handful of nodes; each link's reports once a second are not in the model", answer.links));
    }
    if answer.stream.frame_bytes > 65_536.0 {
        doubts.push("a frame of more than 64 KiB leaves early, as several: frames are more than said".into());
    }
    doubts
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Constants with which one can reckon in one's head.
    fn round() -> Constants {
        let mut constants = Constants::default();
        let all = [
            (&mut constants.frame_cpu_us, 10.0),
            (&mut constants.frame_cpu_us_per_kib, 1.024),
            (&mut constants.idle_cpu_us, 0.0),
            (&mut constants.client_memory, 1_000.0),
            (&mut constants.kernel_memory, 3_000.0),
            (&mut constants.node_memory, 0.0),
            (&mut constants.link_item_cpu_us, 1.0),
            (&mut constants.push_cpu_us, 100.0),
            (&mut constants.push_gateway_cpu_us, 10.0),
            (&mut constants.item_overhead, 0.0),
            (&mut constants.segment_overhead, 66.0),
        ];
        all.into_iter().for_each(|(constant, value)| constant.value = value);
        constants
    }

    fn question() -> Question {
        Question {
            size: 1_000,
            cores_per_node: 10.0,
            used: 0.5,
            connections_per_node: u64::MAX,
            ..Question::default()
        }
    }

    #[test]
    fn what_runs_out_first_decides() {
        // A client takes 10 + 1 µs, 4,000 B, and (1,000 + 66) × 8 = 8,528 bit/s.
        for (change, bound, gateways) in [
            (Question { network_per_node: 1e12, ..question() }, Bound::Cpu, 3),
            (Question { network_per_node: 1e12, memory_per_node: 1 << 28, ..question() }, Bound::Memory, 30),
            (Question { network_per_node: 1e9, ..question() }, Bound::Network, 18),
            (Question { connections_per_node: 100_000, ..question() }, Bound::Connections, 10),
            (Question { clients: 1, ..question() }, Bound::Cpu, 1),
        ] {
            let answer = answer(&change, &round());
            assert_eq!((answer.bound, answer.gateways), (bound, gateways), "{change:?}");
        }
    }

    #[test]
    fn items_of_a_window_share_a_frame() {
        for (items, window, frames, each) in [
            (10.0, 1_000, 1.0, 10.0),
            (0.1, 1_000, 0.1, 1.0),
            (10.0, 0, 10.0, 1.0),
            (10.0, 500, 2.0, 5.0),
            (0.0, 1_000, 0.0, 0.0),
        ] {
            let asked =
                Question { items_per_second: items, window: Duration::from_millis(window), ..question() };
            let stream = answer(&asked, &round()).stream;
            assert_eq!(
                (stream.frames_per_second, stream.items_per_frame),
                (frames, each),
                "{items} {window}"
            );
        }
    }

    #[test]
    fn fewer_gateways_widen_the_window() {
        let asked = Question { clients: 4_000_000, network_per_node: 1e12, ..question() };
        let answer = answer(&asked, &round());
        assert_eq!((answer.gateways, answer.fewer.len()), (9, 3));
        // 4 gateways: 5 s of CPU a second for a million clients each is 5 µs a client; 1 of them for bytes.
        let four = answer.fewer[0];
        let stream = four.stream.unwrap();
        assert_eq!(four.gateways, 4);
        assert!((stream.frames_per_second - 0.4).abs() < 0.01, "{stream:?}");
        assert!(
            (stream.items_per_frame - 2.5).abs() < 0.06 && (stream.window_secs - 2.5).abs() < 0.06,
            "{stream:?}"
        );
        assert!((four.frames_per_second - 1.6e6).abs() < 4e4, "{four:?}");
        // One: 1.25 µs a client, and then no frame of ten times the bytes.
        assert!(answer.fewer[2].stream.unwrap().window_secs > 30.0);
        let much = Question { items_per_second: 10.0, ..asked };
        assert!(super::answer(&much, &round()).fewer.iter().any(|fewer| fewer.stream.is_none()));
    }

    #[test]
    fn logic_is_reckoned_by_pushes_and_the_gateways_that_each_reaches() {
        let to_all = answer(&question(), &round());
        assert!((to_all.pushes_per_second - 1.0).abs() < 1e-9);
        assert_eq!((to_all.logic_nodes, to_all.links), (2, 2 * to_all.gateways));
        let to_one = answer(&Question { audience: 1, ..question() }, &round());
        assert!((to_one.pushes_per_second - 1e6).abs() < 1e-3);
        // 100 µs each for a million, on 5 s of CPU a second.
        assert!((to_one.logic_cores - 100.0).abs() < 1e-3 && to_one.logic_nodes == 20, "{to_one:?}");
        assert!(to_one.link_thread < 1.0 && to_all.link_thread < to_one.link_thread);
    }

    #[test]
    fn doubts_are_told() {
        let crowded = Question { cores_per_node: 1_000.0, network_per_node: 1e15, ..question() };
        assert!(answer(&crowded, &round()).doubts[0].contains("clients a gateway"));
        let long = Question { items_per_second: 100.0, ..question() };
        assert!(answer(&long, &round()).doubts.iter().any(|doubt| doubt.contains("64 KiB")));
    }
}

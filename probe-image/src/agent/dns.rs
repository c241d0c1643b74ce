//! DNS queries that carry a signed nonce, and a server that echoes it.
//!
//! The nonce is in an EDNS option from the range for local use (RFC 6891). A server that is not an agent ignores it.
//! Its response still shows that the query arrived, but not at which server.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use simple_dns::rdata::{A, AAAA, OPT, OPTCode, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, RCODE, ResourceRecord, TYPE};

use crate::mac::{Key, LENGTH, Mac, Purpose};
use crate::payload::transport_byte;
use crate::wire::{Nonce, Outcome, Transport};

/// Maximum length of a message in a datagram without fragments, in bytes.
pub(super) const LONGEST: usize = 1_232;

/// Option with a nonce and the code of the query.
const NONCE_OPTION: u16 = 65_001;

/// Option with the code of the response and the agent's name.
const AGENT_OPTION: u16 = 65_002;

/// The question of a probe: the addresses of a name, in the family in which the query is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) nonce: Nonce,
    pub(super) transport: Transport,
    pub(super) name: &'a str,
    pub(super) ipv6: bool,
}

impl Question<'_> {
    fn kind(&self) -> TYPE {
        if self.ipv6 { TYPE::AAAA } else { TYPE::A }
    }

    /// Returns the query, or `None` if the name is not a DNS name.
    pub(super) fn query(&self, key: &Key) -> Option<Vec<u8>> {
        let mut packet = Packet::new_query(id(self.nonce));
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new(self.name).ok()?;
        let question =
            simple_dns::Question::new(name, QTYPE::TYPE(self.kind()), QCLASS::CLASS(CLASS::IN), false);
        let code = query_code(key, self.transport, self.nonce, &[&question]);
        packet.questions.push(question);
        let data = [self.nonce.0.to_be_bytes().as_slice(), code.bytes()].concat();
        *packet.opt_mut() = Some(options(vec![(NONCE_OPTION, data)]));
        packet.build_bytes_vec().ok()
    }

    /// Reads a response. Returns `None` if it does not belong to this query, or if it claims to be from an agent and
    /// is not.
    pub(super) fn read_response(&self, key: &Key, message: &[u8]) -> Option<Outcome> {
        let packet = Packet::parse(message).ok()?;
        if !packet.has_flags(PacketFlag::RESPONSE) || packet.id() != id(self.nonce) {
            return None;
        }
        let code = packet.rcode() as u16;
        let addresses: Vec<IpAddr> =
            packet.answers.iter().filter_map(|record| address(&record.rdata)).collect();
        let agent = match option(&packet, AGENT_OPTION) {
            None => None,
            Some(option) => {
                let (signed, name) = option.split_at_checked(LENGTH)?;
                let right = response_code(key, self.transport, self.nonce, name, code, &addresses);
                if !Mac::from_bytes(signed)?.matches(&right) {
                    return None;
                }
                Some(String::from_utf8_lossy(name).into_owned())
            }
        };
        Some(Outcome::DnsAnswered { agent, code, addresses })
    }
}

/// Signs a query: the nonce, the transport and the questions.
fn query_code(key: &Key, transport: Transport, nonce: Nonce, questions: &[&simple_dns::Question<'_>]) -> Mac {
    let asked: Vec<String> = questions
        .iter()
        // Resolvers on the way may change the case of a name.
        .map(|question| format!("{} {:?}", question.qname.to_string().to_ascii_lowercase(), question.qtype))
        .collect();
    let (transport, nonce) = ([transport_byte(transport)], nonce.0.to_be_bytes());
    let parts: Vec<&[u8]> =
        [transport.as_slice(), &nonce].into_iter().chain(asked.iter().map(String::as_bytes)).collect();
    key.sign(Purpose::Query, &parts)
}

/// Signs a response: the query that it answers, the agent, and the content.
fn response_code(
    key: &Key,
    transport: Transport,
    nonce: Nonce,
    agent: &[u8],
    code: u16,
    addresses: &[IpAddr],
) -> Mac {
    let mut addresses = addresses.to_vec();
    // Resolvers on the way may change the order.
    addresses.sort_unstable();
    let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    let said = format!("{code} {}", addresses.join(" "));
    let (transport, nonce) = ([transport_byte(transport)], nonce.0.to_be_bytes());
    key.sign(Purpose::Response, &[&transport, &nonce, agent, said.as_bytes()])
}

fn address(data: &RData<'_>) -> Option<IpAddr> {
    if let RData::A(a) = data {
        Some(IpAddr::from(a.address.to_be_bytes()))
    } else if let RData::AAAA(aaaa) = data {
        Some(IpAddr::from(aaaa.address.to_be_bytes()))
    } else {
        None
    }
}

/// The agent that answers queries, and its records.
pub(super) struct Responder<'a> {
    pub(super) key: &'a Key,
    pub(super) agent: &'a str,
    pub(super) transport: Transport,
    pub(super) records: &'a BTreeMap<String, Vec<IpAddr>>,
}

impl Responder<'_> {
    /// Answers a query. Returns `None` if the message is not a query. `arrived` gets the nonce of a query that was
    /// signed with the key, and says whether to answer it. Other queries are answered as by any server.
    pub(super) fn respond(&self, message: &[u8], arrived: impl FnOnce(Nonce) -> bool) -> Option<Vec<u8>> {
        let packet = Packet::parse(message).ok()?;
        if packet.has_flags(PacketFlag::RESPONSE) {
            return None;
        }
        let nonce = self.read_nonce(&packet);
        if nonce.is_some_and(|nonce| !arrived(nonce)) {
            return None;
        }
        let mut reply = Packet::new_reply(packet.id());
        reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        for question in &packet.questions {
            match self.records.get(&question.qname.to_string().to_ascii_lowercase()) {
                None => *reply.rcode_mut() = RCODE::NameError,
                Some(addresses) => {
                    let wanted = addresses.iter().filter_map(|address| record(question, *address));
                    reply.answers.extend(wanted);
                }
            }
            reply.questions.push(question.clone());
        }
        if packet.opt().is_some() {
            let own = nonce.map(|nonce| self.sign(&reply, nonce));
            *reply.opt_mut() = Some(options(own.into_iter().collect()));
        }
        reply.build_bytes_vec_compressed().ok()
    }

    /// Returns the nonce of a query, if the query was signed with the key.
    fn read_nonce(&self, packet: &Packet<'_>) -> Option<Nonce> {
        let (nonce, code) = option(packet, NONCE_OPTION)?.split_at_checked(size_of::<Nonce>())?;
        let nonce = Nonce(u64::from_be_bytes(nonce.try_into().ok()?));
        let questions: Vec<_> = packet.questions.iter().collect();
        let right = query_code(self.key, self.transport, nonce, &questions);
        Mac::from_bytes(code)?.matches(&right).then_some(nonce)
    }

    /// Returns an option with the code of a response and the agent's name.
    fn sign(&self, reply: &Packet<'_>, nonce: Nonce) -> (u16, Vec<u8>) {
        let addresses: Vec<IpAddr> =
            reply.answers.iter().filter_map(|record| address(&record.rdata)).collect();
        let (agent, code) = (self.agent.as_bytes(), reply.rcode() as u16);
        let signed = response_code(self.key, self.transport, nonce, agent, code, &addresses);
        (AGENT_OPTION, [signed.bytes(), agent].concat())
    }
}

fn record<'a>(question: &simple_dns::Question<'a>, address: IpAddr) -> Option<ResourceRecord<'a>> {
    let (kind, data) = match address {
        IpAddr::V4(address) => (TYPE::A, RData::A(A { address: address.into() })),
        IpAddr::V6(address) => (TYPE::AAAA, RData::AAAA(AAAA { address: address.into() })),
    };
    let wanted = question.qtype == QTYPE::TYPE(kind) || question.qtype == QTYPE::ANY;
    wanted.then(|| ResourceRecord::new(question.qname.clone(), CLASS::IN, 5, data))
}

fn id(nonce: Nonce) -> u16 {
    let [.., high, low] = nonce.0.to_be_bytes();
    u16::from_be_bytes([high, low])
}

fn options<'a>(options: Vec<(u16, Vec<u8>)>) -> OPT<'a> {
    let opt_codes =
        options.into_iter().map(|(code, data)| OPTCode { code, data: Cow::Owned(data) }).collect();
    OPT { opt_codes, udp_packet_size: 1_232, version: 0 }
}

fn option<'a>(packet: &'a Packet<'_>, code: u16) -> Option<&'a [u8]> {
    let option = packet.opt()?.opt_codes.iter().find(|option| option.code == code)?;
    Some(&option.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> BTreeMap<String, Vec<IpAddr>> {
        let addresses = vec!["10.96.0.10".parse().unwrap(), "fd00::10".parse().unwrap()];
        [("dns.kube-system.svc.cluster.local".to_owned(), addresses)].into()
    }

    fn key() -> Key {
        Key::from_token("token")
    }

    fn question(name: &str) -> Question<'_> {
        Question { nonce: Nonce(0x1122_3344_5566_7788), transport: Transport::DnsUdp, name, ipv6: false }
    }

    /// Returns the agent's response, and the nonce that it saw.
    fn respond(transport: Transport, query: &[u8]) -> (Option<Vec<u8>>, Option<Nonce>) {
        let (records, mut seen) = (records(), None);
        let responder = Responder { key: &key(), agent: "kube-system/dns", transport, records: &records };
        let response = responder.respond(query, |nonce| seen.replace(nonce).is_none());
        (response, seen)
    }

    #[test]
    fn an_agent_answers_with_its_name() {
        for (ipv6, address) in [(false, "10.96.0.10"), (true, "fd00::10")] {
            for transport in [Transport::DnsUdp, Transport::DnsTcp] {
                let question = Question { ipv6, transport, ..question("DNS.kube-system.svc.cluster.local") };
                let (response, seen) = respond(transport, &question.query(&key()).unwrap());
                assert_eq!(seen, Some(question.nonce));
                let outcome = question.read_response(&key(), &response.unwrap()).unwrap();
                let agent = Some("kube-system/dns".to_owned());
                let addresses = vec![address.parse().unwrap()];
                assert_eq!(outcome, Outcome::DnsAnswered { agent, code: 0, addresses });
            }
        }
    }

    #[test]
    fn an_unknown_name_is_answered_too() {
        let question = question("nobody.svc.cluster.local");
        let (response, _) = respond(Transport::DnsUdp, &question.query(&key()).unwrap());
        let outcome = question.read_response(&key(), &response.unwrap()).unwrap();
        let agent = Some("kube-system/dns".into());
        assert_eq!(outcome, Outcome::DnsAnswered { agent, code: 3, addresses: vec![] });
    }

    #[test]
    fn a_response_to_another_query_is_none() {
        let question = question("x.local");
        let query = question.query(&key()).unwrap();
        let response = respond(Transport::DnsUdp, &query).0.unwrap();
        let with_nonce = |nonce| Question { nonce: Nonce(nonce), ..question };
        assert_eq!(with_nonce(2).read_response(&key(), &response), None);
        // A nonce with the same DNS id.
        assert_eq!(with_nonce(question.nonce.0 ^ 0x1_0000).read_response(&key(), &response), None);
        assert_eq!(question.read_response(&key(), &query), None);
        assert_eq!(question.read_response(&key(), b""), None);
    }

    /// A program that looks up a name, or an agent of another run, gets a response, but nothing is recorded as
    /// arrived.
    #[test]
    fn queries_of_others_are_answered_and_do_not_arrive() {
        let question = question("dns.kube-system.svc.cluster.local");
        let foreign = question.query(&Key::from_token("other")).unwrap();
        let signed = question.query(&key()).unwrap();
        let mut packet = Packet::parse(&signed).unwrap();
        let other_name = Name::new("db.kube-system.svc.cluster.local").unwrap();
        packet.questions[0].qname = other_name;
        let renamed = packet.build_bytes_vec().unwrap();
        packet.opt_mut().as_mut().unwrap().opt_codes.clear();
        let plain = packet.build_bytes_vec().unwrap();
        for query in [foreign, renamed, plain] {
            let (response, seen) = respond(Transport::DnsUdp, &query);
            assert_eq!(seen, None);
            let response = response.unwrap();
            assert_eq!(option(&Packet::parse(&response).unwrap(), AGENT_OPTION), None);
        }
        // Over another transport than the one it was signed for.
        assert_eq!(respond(Transport::DnsTcp, &signed).1, None);
    }

    #[test]
    fn a_response_in_an_agents_name_needs_its_code() {
        let question = question("dns.kube-system.svc.cluster.local");
        let response = respond(Transport::DnsUdp, &question.query(&key()).unwrap()).0.unwrap();
        assert_eq!(question.read_response(&Key::from_token("other"), &response), None);
        let changed = |change: fn(&mut Packet<'_>)| {
            let mut packet = Packet::parse(&response).unwrap();
            change(&mut packet);
            question.read_response(&key(), &packet.build_bytes_vec().unwrap())
        };
        assert!(changed(|_| ()).is_some());
        assert_eq!(changed(|packet| packet.answers.clear()), None, "with other addresses");
        assert_eq!(changed(|packet| *packet.rcode_mut() = RCODE::Refused), None, "with another code");
        let without = changed(|packet| packet.opt_mut().as_mut().unwrap().opt_codes.clear()).unwrap();
        assert!(matches!(without, Outcome::DnsAnswered { agent: None, .. }), "{without:?}");
    }

    #[test]
    fn a_copy_of_a_query_gets_no_answer() {
        let query = question("x.local").query(&key()).unwrap();
        let records = records();
        let responder =
            Responder { key: &key(), agent: "a", transport: Transport::DnsUdp, records: &records };
        assert_eq!(responder.respond(&query, |_| false), None);
    }
}

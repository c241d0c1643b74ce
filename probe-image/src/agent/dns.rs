//! DNS queries that carry a nonce, and a server that echoes it.
//!
//! The nonce travels in an EDNS option of the range for local use (RFC 6891). A server that is no
//! agent ignores it; the answer then still shows that the query arrived, but not at whom.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use simple_dns::rdata::{A, AAAA, OPT, OPTCode, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE};

use crate::wire::{Nonce, Outcome};

/// The longest message in a datagram without fragments.
pub(super) const LONGEST: usize = 1_232;

const NONCE_OPTION: u16 = 65_001;
const AGENT_OPTION: u16 = 65_002;

/// A query for the addresses of `name`, of the family in which it is sent. `None` if `name` is
/// not a DNS name.
pub(super) fn query(nonce: Nonce, name: &str, ipv6: bool) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id(nonce));
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let kind = if ipv6 { TYPE::AAAA } else { TYPE::A };
    let name = Name::new(name).ok()?;
    packet.questions.push(Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
    *packet.opt_mut() = Some(options(vec![(NONCE_OPTION, nonce.0.to_be_bytes().to_vec())]));
    packet.build_bytes_vec().ok()
}

/// What a response to a query means; `None` if it is no response to it.
pub(super) fn read_response(message: &[u8], nonce: Nonce) -> Option<Outcome> {
    let packet = Packet::parse(message).ok()?;
    if !packet.has_flags(PacketFlag::RESPONSE) || packet.id() != id(nonce) {
        return None;
    }
    if let Some(echo) = option(&packet, NONCE_OPTION)
        && *echo != nonce.0.to_be_bytes()
    {
        return None;
    }
    let agent = option(&packet, AGENT_OPTION).map(|name| String::from_utf8_lossy(name).into_owned());
    let addresses = packet.answers.iter().filter_map(|record| address(&record.rdata)).collect();
    Some(Outcome::DnsAnswered { agent, code: packet.rcode() as u16, addresses })
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

/// Answers a query from `records`, signed by `agent`. Gives the response, and the nonce if the
/// query has one; `None` if the message is no query.
pub(super) fn respond(
    message: &[u8],
    records: &BTreeMap<String, Vec<IpAddr>>,
    agent: &str,
) -> Option<(Vec<u8>, Option<Nonce>)> {
    let packet = Packet::parse(message).ok()?;
    if packet.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    let nonce =
        option(&packet, NONCE_OPTION).and_then(|data| Some(Nonce(u64::from_be_bytes(data.try_into().ok()?))));
    let mut reply = Packet::new_reply(packet.id());
    reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    for question in &packet.questions {
        match records.get(&question.qname.to_string().to_ascii_lowercase()) {
            None => *reply.rcode_mut() = RCODE::NameError,
            Some(addresses) => {
                let wanted = addresses.iter().filter_map(|address| record(question, *address));
                reply.answers.extend(wanted);
            }
        }
        reply.questions.push(question.clone());
    }
    let nonce_option = nonce.map(|nonce| (NONCE_OPTION, nonce.0.to_be_bytes().to_vec()));
    let agent_option = (AGENT_OPTION, agent.as_bytes().to_vec());
    if packet.opt().is_some() {
        *reply.opt_mut() = Some(options(nonce_option.into_iter().chain([agent_option]).collect()));
    }
    Some((reply.build_bytes_vec_compressed().ok()?, nonce))
}

fn record<'a>(question: &Question<'a>, address: IpAddr) -> Option<ResourceRecord<'a>> {
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

    #[test]
    fn an_agent_answers_with_the_nonce_and_its_name() {
        let nonce = Nonce(0x1122_3344_5566_7788);
        for (ipv6, address) in [(false, "10.96.0.10"), (true, "fd00::10")] {
            let query = query(nonce, "DNS.kube-system.svc.cluster.local", ipv6).unwrap();
            let (response, seen) = respond(&query, &records(), "kube-system/dns").unwrap();
            assert_eq!(seen, Some(nonce));
            let outcome = read_response(&response, nonce).unwrap();
            let agent = Some("kube-system/dns".to_owned());
            let addresses = vec![address.parse().unwrap()];
            assert_eq!(outcome, Outcome::DnsAnswered { agent, code: 0, addresses });
        }
    }

    #[test]
    fn an_unknown_name_is_answered_too() {
        let query = query(Nonce(1), "nobody.svc.cluster.local", false).unwrap();
        let (response, _) = respond(&query, &records(), "a").unwrap();
        let outcome = read_response(&response, Nonce(1)).unwrap();
        assert_eq!(outcome, Outcome::DnsAnswered { agent: Some("a".into()), code: 3, addresses: vec![] });
    }

    #[test]
    fn a_response_to_another_query_is_none() {
        let query = query(Nonce(1), "x.local", false).unwrap();
        let (response, _) = respond(&query, &records(), "a").unwrap();
        assert_eq!(read_response(&response, Nonce(2)), None);
        assert_eq!(read_response(&response, Nonce(0x1_0001)), None);
        assert_eq!(read_response(&query, Nonce(1)), None);
        assert_eq!(read_response(b"", Nonce(1)), None);
    }
}

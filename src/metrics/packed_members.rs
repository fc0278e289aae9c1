//! The `members` cell of `steps.csv`: all shares of a step in batch order,
//! separated by spaces, each `request:tokens:context:kind`. The kind is `p` for
//! a share of a prompt and `d` for a decode, upper case when the step yields an
//! output token for the request. `3:16:0:p 1:1:57:D` computes 16 tokens of
//! request 3's prompt and one token of request 1, whose 57 earlier tokens are in
//! the KV cache, and yields a token for request 1 alone.

use super::record::StepMember;
use super::row_reader::parse_number;
use super::row_writer::push_number;

/// Appends a step's members.
pub(super) fn pack(members: &[StepMember], buffer: &mut Vec<u8>) {
    for (index, member) in members.iter().enumerate() {
        if index > 0 {
            buffer.push(b' ');
        }
        for number in [member.request, member.tokens, member.context] {
            push_number(buffer, number.into());
            buffer.push(b':');
        }
        buffer.push(match (member.is_prefill, member.emits) {
            (true, false) => b'p',
            (true, true) => b'P',
            (false, false) => b'd',
            (false, true) => b'D',
        });
    }
}

/// The members of a cell; None for one that is not of the form above.
pub(super) fn unpack(cell: &[u8]) -> impl Iterator<Item = Option<StepMember>> {
    cell.split(|byte| *byte == b' ').map(unpack_one)
}

fn unpack_one(text: &[u8]) -> Option<StepMember> {
    let mut parts = text.split(|byte| *byte == b':');
    let mut number = || parts.next().and_then(parse_number).and_then(|value| u32::try_from(value).ok());
    let (request, tokens, context) = (number()?, number()?, number()?);
    let (is_prefill, emits) = match parts.next()? {
        b"p" => (true, false),
        b"P" => (true, true),
        b"d" => (false, false),
        b"D" => (false, true),
        _ => return None,
    };
    parts.next().is_none().then_some(StepMember { request, tokens, context, is_prefill, emits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_read_back() {
        let member =
            |request, is_prefill, emits| StepMember { request, tokens: 16, context: 57, is_prefill, emits };
        let members = [
            member(0, true, false),
            member(u32::MAX, true, true),
            member(2, false, false),
            member(3, false, true),
        ];
        let mut cell = Vec::new();
        pack(&members, &mut cell);
        assert_eq!(cell, b"0:16:57:p 4294967295:16:57:P 2:16:57:d 3:16:57:D");
        assert_eq!(unpack(&cell).collect::<Option<Vec<_>>>().unwrap(), members);
        for bad in
            ["", "1:2:3", "1:2:3:x", "1:2:3:P:", "1:2:3:P ", " 1:2:3:P", "-1:2:3:P", "1:2:4294967296:P"]
        {
            assert!(unpack(bad.as_bytes()).any(|member| member.is_none()), "{bad:?}");
        }
    }
}

//! [`Item`]: what `pub` sends and `sub` writes out: one line, or one frame of bytes.
//!
//! On the wire it is plain bytes, so a program reads the same stream with `Bytes` as its datum.
//! To a selection a line that is JSON shows its fields, any other text is a text, and the rest is
//! bytes. Nothing of the line is copied or parsed that the selection does not ask for.

use {
    bytes::Bytes,
    core::fmt,
    serde::{
        Deserialize, Deserializer, Serialize, Serializer,
        de::{MapAccess, SeqAccess, Visitor},
        ser::{Error as _, SerializeMap as _, SerializeSeq as _},
    },
    serde_json::value::RawValue,
    std::borrow::Cow,
};

/// The bytes of one line with its line end, or of one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item(pub(crate) Bytes);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Bytes::deserialize(deserializer).map(Self)
    }
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return self.0.serialize(serializer);
        }
        if let Ok(json) = serde_json::from_slice::<&RawValue>(&self.0) {
            return Json(json).serialize(serializer);
        }
        match core::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text.trim_end_matches(['\n', '\r'])),
            Err(_) => serializer.serialize_bytes(&self.0),
        }
    }
}

/// Valid JSON that is parsed level by level, as far as the serializer asks.
struct Json<'j>(&'j RawValue);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.0.get();
        let mut parser = serde_json::Deserializer::from_str(text);
        match text.as_bytes().first() {
            Some(b'{') => parser
                .deserialize_map(Level(serializer))
                .map_err(S::Error::custom)?,
            Some(b'[') => parser
                .deserialize_seq(Level(serializer))
                .map_err(S::Error::custom)?,
            Some(b'"') => Text::deserialize(&mut parser)
                .map_err(S::Error::custom)
                .and_then(|Text(text)| serializer.serialize_str(&text)),
            // Numbers, booleans and null hold no allocation.
            _ => serde_json::Value::deserialize(&mut parser)
                .map_err(S::Error::custom)
                .and_then(|value| value.serialize(serializer)),
        }
    }
}

/// Hands the members of one object or array on to a serializer. The outcome of serialising is
/// the visitor's value, so that the serializer's error keeps its type.
struct Level<S>(S);

impl<'de, S: Serializer> Visitor<'de> for Level<S> {
    type Value = Result<S::Ok, S::Error>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut map = match self.0.serialize_map(None) {
            Ok(map) => map,
            Err(error) => return Ok(Err(error)),
        };
        while let Some((Text(name), value)) = members.next_entry::<_, &RawValue>()? {
            if let Err(error) = map.serialize_entry(name.as_ref(), &Json(value)) {
                return Ok(Err(error));
            }
        }
        Ok(map.end())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut seq = match self.0.serialize_seq(None) {
            Ok(seq) => seq,
            Err(error) => return Ok(Err(error)),
        };
        while let Some(value) = items.next_element::<&RawValue>()? {
            if let Err(error) = seq.serialize_element(&Json(value)) {
                return Ok(Err(error));
            }
        }
        Ok(seq.end())
    }
}

/// A JSON string, copied only if it has escapes.
struct Text<'j>(Cow<'j, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrow)
    }
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        mosaik::{Criteria, Datum},
    };

    fn selects(selection: &str, line: &'static [u8]) -> bool {
        let criteria: Criteria = selection.parse().expect("a selection");
        criteria.matches(&Item(Bytes::from_static(line)))
    }

    #[test]
    fn json_lines_show_their_fields() {
        let line = br#" {"n": 4, "at": {"x": [1, {"deep": "a\u00e9"}]}, "on": true, "off": null} "#;
        for selection in [
            "n > 3 and n < 4.5",
            "at.x.0 == 1 and at.x.1.deep == 'aé'",
            "at.x has 1 and on and off == null and gone == null",
            "not (n > 4) and at != null",
        ] {
            assert!(selects(selection, line), "{selection}");
        }
        assert!(!selects("n == '4' or at.x.2 != null", line));
        assert!(selects(". >= 17", b"17\r\n"));
        assert!(selects(". has 2", b"[1, 2]\n"));
    }

    #[test]
    fn other_lines_are_text_and_the_rest_is_bytes() {
        assert!(selects(". == 'plain text'", b"plain text\n"));
        assert!(selects(". == '{\"broken\": '", b"{\"broken\": \n"));
        assert!(!selects("broken != null", b"{\"broken\": \n"));
        assert!(selects(". == x\"ff00\"", b"\xff\x00"));
    }

    #[test]
    fn on_the_wire_an_item_is_its_bytes() {
        let item = Item(Bytes::from_static(b"{\"n\": 4}\n"));
        let encoded = item.encode().expect("encodes");
        assert_eq!(encoded, item.0.encode().expect("encodes"));
        assert_eq!(Item::decode(&encoded).expect("decodes"), item);
    }

    #[test]
    fn deep_json_does_not_exhaust_the_stack() {
        let depth = 200_000;
        let line = [vec![b'['; depth], vec![b']'; depth]].concat();
        let criteria: Criteria = "x == 1 or .0.0.0.0 == 1".parse().expect("a selection");
        assert!(!criteria.matches(&Item(line.into())));
    }
}

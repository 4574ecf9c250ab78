//! Parameters with their types, for statements that nobody prepared: the server is told what it would have said.

use bytes::BytesMut;
use tokio_postgres::types::{ToSql, Type};

/// All types of parameters that the store sends. Each Rust type that it uses fits one of them.
const TYPES: [Type; 11] = [
    Type::INT8,
    Type::INT4,
    Type::TEXT,
    Type::BYTEA,
    Type::BOOL,
    Type::NUMERIC,
    Type::INT8_ARRAY,
    Type::INT4_ARRAY,
    Type::TEXT_ARRAY,
    Type::BYTEA_ARRAY,
    Type::NUMERIC_ARRAY,
];

/// Each parameter with its type.
pub(super) fn typed<'a>(parameters: &[&'a (dyn ToSql + Sync)]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    let mut written = BytesMut::new();
    let mut type_of = |parameter: &(dyn ToSql + Sync)| {
        written.clear();
        TYPES.into_iter().find(|of| parameter.to_sql_checked(of, &mut written).is_ok())
    };
    // What fits none is left for the server to find out.
    parameters.iter().map(|parameter| (*parameter, type_of(*parameter).unwrap_or(Type::UNKNOWN))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::wide::Wide;
    use super::*;

    #[test]
    fn parameters_have_the_types_that_they_are_sent_as() {
        let of = |parameter: &(dyn ToSql + Sync)| typed(&[parameter])[0].1.clone();
        assert_eq!([of(&1_i64), of(&1_i32), of(&true)], [Type::INT8, Type::INT4, Type::BOOL]);
        assert_eq!([of(&"a"), of(&None::<String>), of(&b"a".as_slice())], [Type::TEXT, Type::TEXT, Type::BYTEA]);
        assert_eq!([of(&Wide(1)), of(&vec![Some(Wide(1))])], [Type::NUMERIC, Type::NUMERIC_ARRAY]);
        assert_eq!([of(&vec![None::<i64>]), of(&[1_i32].as_slice())], [Type::INT8_ARRAY, Type::INT4_ARRAY]);
        assert_eq!(
            [of(&vec!["a"]), of(&[Some([1_u8; 2].as_slice())].as_slice())],
            [Type::TEXT_ARRAY, Type::BYTEA_ARRAY]
        );
    }
}

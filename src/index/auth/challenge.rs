//! Challenges: the `WWW-Authenticate` header (RFC 9110, 11.6.1), as registries use it
//! (distribution, "Token Authentication Specification").

/// What a registry wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::index) enum Challenge {
    /// Name and password.
    Basic,
    /// A token from a token server.
    Bearer(Bearer),
}

/// Where to get a token, and for what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::index) struct Bearer {
    /// The URL of the token server.
    pub(in crate::index) realm: String,
    /// The name of the registry, as the token server knows it.
    pub(in crate::index) service: Option<String>,
    /// What the request that was refused needs.
    pub(in crate::index) scope: Option<String>,
    /// Why a token that was shown is not enough.
    pub(in crate::index) error: Option<String>,
}

/// Reads the values of all `WWW-Authenticate` headers. A token is preferred: where both are offered, it says less of the password.
pub(in crate::index) fn choose<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Challenge> {
    let mut basic = false;
    for (scheme, params) in headers.into_iter().flat_map(parse) {
        if scheme.eq_ignore_ascii_case("bearer") {
            let param = |name: &str| {
                params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
            };
            if let Some(realm) = param("realm") {
                return Some(Challenge::Bearer(Bearer {
                    realm,
                    service: param("service"),
                    scope: param("scope"),
                    error: param("error"),
                }));
            }
        }
        basic |= scheme.eq_ignore_ascii_case("basic");
    }
    basic.then_some(Challenge::Basic)
}

type Scheme = (String, Vec<(String, String)>);

/// One header may hold several challenges, whose commas are those of their parameters as well: what has no `=` after its first word
/// starts a new one.
fn parse(header: &str) -> Vec<Scheme> {
    let mut schemes: Vec<Scheme> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        if end == 0 {
            return schemes;
        }
        let word = &rest[..end];
        rest = &rest[end..];
        let after = rest.trim_start_matches([' ', '\t']);
        if let Some(value) = after.strip_prefix('=') {
            let (value, tail) = read_value(value.trim_start_matches([' ', '\t']));
            rest = tail;
            if let Some((_, params)) = schemes.last_mut() {
                params.push((word.to_owned(), value));
            }
        } else {
            schemes.push((word.to_owned(), Vec::new()));
        }
    }
}

/// A quoted string or a token, and what follows it.
fn read_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[place + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            plain => value.push(plain),
        }
    }
    (value, "")
}

/// RFC 9110, 5.6.2.
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_registries_send() {
        let text = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push",error="insufficient_scope""#;
        let Some(Challenge::Bearer(bearer)) = choose([text]) else { panic!("no challenge") };
        assert_eq!(bearer.realm, "https://auth.example/token");
        assert_eq!(bearer.service.as_deref(), Some("registry.example"));
        assert_eq!(bearer.scope.as_deref(), Some("repository:a/b:pull,push"));
        assert_eq!(bearer.error.as_deref(), Some("insufficient_scope"));
        assert_eq!(choose([r#"Basic realm="Registry Realm""#]), Some(Challenge::Basic));
        assert_eq!(choose(["basic"]), Some(Challenge::Basic));
        assert_eq!(choose(["Negotiate", "NTLM"]), None);
        assert_eq!(choose(["Bearer"]), None, "without a realm there is nowhere to go");
    }

    #[test]
    fn several_challenges_may_share_a_header() {
        let one = r#"Basic realm="a, b", Bearer realm="https://t.example/\"x\"" , service = s"#;
        for headers in
            [vec![one], vec![r#"Basic realm="x""#, r#"Bearer realm="https://t.example/\"x\"",service=s"#]]
        {
            let Some(Challenge::Bearer(bearer)) = choose(headers) else { panic!("no challenge") };
            assert_eq!(bearer.realm, r#"https://t.example/"x""#);
            assert_eq!(bearer.service.as_deref(), Some("s"));
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,80}") {
            let _ = choose([text.as_str()]);
        }

        #[test]
        fn never_panics_on_near_misses(text in r#"(Bearer|Basic|[ ,="\\a-z]){0,20}"#) {
            let _ = choose([text.as_str()]);
        }
    }
}

//! What a server says of itself: whether it is new enough, and whether it would throw messages away when it is full.

/// The least version whose streams know the commands that we use.
const LEAST: (u32, u32) = (6, 2);

/// The answer to `INFO`.
#[derive(Debug, Default, PartialEq)]
pub struct About {
    version: Option<String>,
    policy: Option<String>,
    is_limited: bool,
    pub is_cluster: bool,
}

impl About {
    /// Reads `name:value` lines; what is not there is not known.
    pub fn read(info: &str) -> Self {
        let find = |name: &str| {
            let value = info.lines().filter_map(|line| line.split_once(':')).find(|(own, _)| *own == name);
            value.map(|(_, value)| value.trim().to_owned())
        };
        Self {
            // Valkey gives here the version of Redis that it is compatible with.
            version: find("redis_version"),
            policy: find("maxmemory_policy"),
            is_limited: find("maxmemory").is_some_and(|bytes| bytes != "0"),
            is_cluster: find("redis_mode").as_deref() == Some("cluster"),
        }
    }

    /// The version, if it is known and too old.
    pub fn too_old(&self) -> Option<&str> {
        let version = self.version.as_deref()?;
        let mut parts = version.split('.').map(str::parse);
        match (parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < LEAST => Some(version),
            _ => None,
        }
    }

    /// The policy by which a full server removes keys that nobody has asked it to remove.
    pub fn evicts(&self) -> Option<&str> {
        self.policy.as_deref().filter(|policy| self.is_limited && policy.starts_with("allkeys"))
    }
}

/// Whether a cluster keeps all these names on one server, which is where a script can use them together: they have the same
/// part in braces.
pub fn are_together<'a>(names: impl IntoIterator<Item = &'a str>) -> bool {
    let mut tags = names.into_iter().map(tag);
    let Some(Some(first)) = tags.next() else { return false };
    tags.all(|tag| tag == Some(first))
}

fn tag(name: &str) -> Option<&str> {
    let (_, rest) = name.split_once('{')?;
    rest.split_once('}').map(|(tag, _)| tag).filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_judged_by_what_it_says() {
        let said = |version: &str, bytes: &str, policy: &str| {
            About::read(&format!(
                "# Server\r\nredis_version:{version}\r\n\r\n# Memory\r\nmaxmemory:{bytes}\r\nmaxmemory_policy:{policy}\r\n"
            ))
        };
        for (version, is_old) in
            [("5.0.14", true), ("6.0.16", true), ("6.2.0", false), ("7.0.15", false), ("10.0", false)]
        {
            assert_eq!(said(version, "0", "noeviction").too_old().is_some(), is_old, "{version}");
        }
        assert_eq!(said("7.0.15", "100", "allkeys-lru").evicts(), Some("allkeys-lru"));
        assert_eq!(said("7.0.15", "0", "allkeys-lru").evicts(), None);
        assert_eq!(said("7.0.15", "100", "noeviction").evicts(), None);
        assert_eq!(About::read("what is this").too_old(), None);
        assert_eq!(About::read("redis_version:unstable").too_old(), None);
    }

    #[test]
    fn names_of_a_cluster_are_together_by_their_braces() {
        assert!(are_together(["{flights}.in", "{flights}.out", "all.{flights}"]));
        for names in
            [["flights.in", "flights.out"], ["{flights}.in", "{rent}.out"], ["{flights}.in", "out"], ["{}.in", "{}.in"]]
        {
            assert!(!are_together(names), "{names:?}");
        }
    }
}

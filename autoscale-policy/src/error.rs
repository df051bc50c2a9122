use std::fmt;

/// A configuration that cannot be meant.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value that contradicts another, or makes no sense.
    Refused(Refusal),
    /// The text is no TOML, or has a field that there is not, or a value of another type.
    #[cfg(feature = "toml")]
    Syntax(Box<toml::de::Error>),
}

/// Which value, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where it is: `threshold.down`.
    pub path: String,
    /// What it is.
    pub value: String,
    /// Why that cannot be, and what would.
    pub reason: String,
}

impl Refusal {
    pub(crate) fn new(path: &str, value: impl fmt::Debug, reason: impl Into<String>) -> Self {
        Self { path: path.to_owned(), value: format!("{value:?}"), reason: reason.into() }
    }

    /// The same, of a policy inside of another.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        self.path = format!("{outer}.{}", self.path);
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}", self.path, self.value, self.reason)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            #[cfg(feature = "toml")]
            Self::Syntax(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(_) => None,
            #[cfg(feature = "toml")]
            Self::Syntax(error) => Some(error),
        }
    }
}

impl From<Refusal> for ConfigError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

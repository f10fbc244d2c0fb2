//! Values of QEMU's options: `word,key=value,flag`, where a comma in a value is written twice.

/// What is left of a value's properties; whoever knows one takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(Vec<(String, String)>);

impl Properties {
    /// Reads a value; its first item, when it has no `=`, is the value of `implied`. A flag is on,
    /// and one that begins with `no` is off.
    pub fn parse(text: &str, implied: &str) -> Self {
        let items = items(text).into_iter().enumerate();
        let items = items.map(|(index, item)| match item.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None if index == 0 && !implied.is_empty() => (implied.to_owned(), item),
            None => match item.strip_prefix("no") {
                Some(key) if !key.is_empty() => (key.to_owned(), "off".to_owned()),
                _ => (item, "on".to_owned()),
            },
        });
        Properties(items.collect())
    }

    /// Adds a property.
    pub fn put(&mut self, key: &str, value: String) {
        self.0.push((key.to_owned(), value));
    }

    /// Takes a property's last value.
    pub fn take(&mut self, key: &str) -> Option<String> {
        self.take_all(key).pop()
    }

    /// Takes all values of a property, in order.
    pub fn take_all(&mut self, key: &str) -> Vec<String> {
        let taken = self.0.extract_if(.., |(name, _)| name == key);
        taken.map(|(_, value)| value).collect()
    }

    /// Takes a property that is on or off.
    ///
    /// # Errors
    /// Another value.
    pub fn take_switch(&mut self, key: &str) -> Result<Option<bool>, String> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        match value.as_str() {
            "on" | "yes" | "true" | "y" => Ok(Some(true)),
            "off" | "no" | "false" | "n" => Ok(Some(false)),
            _ => Err(format!("Parameter '{key}' expects 'on' or 'off'")),
        }
    }

    /// Takes properties that change nothing here.
    pub fn ignore(&mut self, keys: &[&str]) {
        self.0.retain(|(name, _)| !keys.contains(&name.as_str()));
    }

    /// Whether a property is there.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(name, _)| name == key)
    }

    /// Says which property is left over, if one is.
    ///
    /// # Errors
    /// A property that nobody took.
    pub fn end(self) -> Result<(), String> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((key, value)) => Err(format!(
                "property '{key}={value}' has no counterpart here; leave it out"
            )),
        }
    }
}

/// The items between commas.
fn items(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_end = letter == ',' && letters.next_if_eq(&',').is_none();
        match items.last_mut() {
            Some(item) if !is_end => item.push(letter),
            _ => items.push(String::new()),
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_a_word_and_properties() {
        let mut all = Properties::parse("socket,path=/a,,b=c,server,nowait,id=x,id=y", "backend");
        assert_eq!(all.take("backend").as_deref(), Some("socket"));
        assert_eq!(all.take("path").as_deref(), Some("/a,b=c"));
        assert_eq!(all.take_switch("server"), Ok(Some(true)));
        assert_eq!(all.take_switch("wait"), Ok(Some(false)));
        assert_eq!(all.take("id").as_deref(), Some("y"));
        assert_eq!(all.end(), Ok(()));
    }

    #[test]
    fn what_nobody_takes_is_named() {
        let mut all = Properties::parse("a=1,b=maybe,c", "");
        assert!(all.take_switch("b").is_err());
        all.ignore(&["c"]);
        assert!(all.end().unwrap_err().contains("'a=1'"));
    }
}

//! Other scripts without a build: debug builds read them from the folder that [`ENV_LUA_FOLDER`] names, as `make mutants`
//! needs it. Release builds have only those that are built in.

use std::borrow::Cow;

#[cfg(debug_assertions)]
use crate::config::ENV_LUA_FOLDER;

#[derive(Clone, Copy)]
pub(super) struct LuaFile {
    /// Its path there, without `.lua`.
    pub(in crate::allocator) path: &'static str,
    /// Its text, as it was built in.
    pub(in crate::allocator) text: &'static str,
}

impl LuaFile {
    /// Its name, without its folder.
    pub(in crate::allocator) fn name(self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }

    #[cfg(not(debug_assertions))]
    pub(in crate::allocator) fn read(self) -> Cow<'static, str> {
        Cow::Borrowed(self.text)
    }

    /// The text that counts. A folder that lacks the file is a mistake, and the end of the process.
    #[cfg(debug_assertions)]
    pub(in crate::allocator) fn read(self) -> Cow<'static, str> {
        let Some(folder) = std::env::var_os(ENV_LUA_FOLDER) else { return Cow::Borrowed(self.text) };
        let path = std::path::Path::new(&folder).join(self.path).with_extension("lua");
        let text = std::fs::read_to_string(&path);
        Cow::Owned(text.unwrap_or_else(|error| panic!("{ENV_LUA_FOLDER}: {}: {error}", path.display())))
    }
}

//! What the control groups of this process leave of memory and threads: both versions, cgroups(7).

use std::path::{Path, PathBuf};

/// Where both versions are mounted by everybody.
const ROOT: &str = "/sys/fs/cgroup";

/// More than any machine has: version 1 writes "no limit" as the largest number of whole pages.
const NO_LIMIT: u64 = 1 << 60;

/// Bytes of memory that the groups leave; `None`: they set no limit, or show none.
pub(super) fn memory_left() -> Option<u64> {
    let groups = Groups::read();
    let unified = groups.unified().filter_map(|folder| {
        let (most, used) = (number(&folder, "memory.max")?, number(&folder, "memory.current")?);
        // What files take of it is given back before anything fails.
        Some(most.saturating_sub(used.saturating_sub(cache(&folder, "inactive_file"))))
    });
    let first = groups.version_1("memory").filter_map(|folder| {
        let most = number(&folder, "memory.limit_in_bytes").filter(|most| *most < NO_LIMIT)?;
        let used = number(&folder, "memory.usage_in_bytes")?;
        Some(most.saturating_sub(used.saturating_sub(cache(&folder, "total_inactive_file"))))
    });
    unified.chain(first).min()
}

/// Threads that the groups leave; `None`: they set no limit, or show none.
pub(super) fn threads_left() -> Option<u64> {
    let groups = Groups::read();
    let left = |folder: PathBuf| {
        let (most, there) = (number(&folder, "pids.max")?, number(&folder, "pids.current")?);
        Some(most.saturating_sub(there))
    };
    groups.unified().chain(groups.version_1("pids")).filter_map(left).min()
}

/// The groups of this process, as `/proc/self/cgroup` names them.
#[derive(Debug)]
struct Groups(String);

impl Groups {
    fn read() -> Self {
        Self(std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default())
    }

    /// The path of this process's group among those of a controller; "": the unified hierarchy.
    fn path(&self, controller: &str) -> Option<&str> {
        self.0.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            controllers.split(',').any(|each| each == controller).then_some(path)
        })
    }

    fn unified(&self) -> impl Iterator<Item = PathBuf> + use<> {
        // Beside version 1 the second one is mounted below it.
        let path = self.path("").map(str::to_owned);
        let roots = [ROOT.to_owned(), format!("{ROOT}/unified")];
        path.into_iter()
            .flat_map(move |path| roots.clone().into_iter().flat_map(move |root| up(&root, &path)))
    }

    fn version_1(&self, controller: &str) -> impl Iterator<Item = PathBuf> + use<> {
        let path = self.path(controller).map(str::to_owned);
        let root = format!("{ROOT}/{controller}");
        path.into_iter().flat_map(move |path| up(&root, &path))
    }
}

/// A group and those above it, down to the root: each may set a limit. In a container the path may be one that only
/// the host has; then the root is what there is.
fn up(root: &str, path: &str) -> Vec<PathBuf> {
    let below = Path::new(path.trim_start_matches('/'));
    below.ancestors().map(|each| Path::new(root).join(each)).collect()
}

fn number(folder: &Path, file: &str) -> Option<u64> {
    std::fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
}

fn cache(folder: &Path, name: &str) -> u64 {
    let stat = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(each, _)| *each == name).and_then(|(_, bytes)| bytes.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_in_both_versions_with_all_above_it() {
        let groups = Groups("8:pids:/\n4:cpu,memory:/a/b\n0::/c\n".into());
        let text =
            |folders: Vec<PathBuf>| folders.iter().map(|each| each.display().to_string()).collect::<Vec<_>>();
        let memory = text(groups.version_1("memory").collect());
        assert_eq!(
            memory,
            ["/sys/fs/cgroup/memory/a/b", "/sys/fs/cgroup/memory/a", "/sys/fs/cgroup/memory/"]
        );
        assert_eq!(text(groups.version_1("pids").collect()), ["/sys/fs/cgroup/pids/"]);
        assert_eq!(groups.unified().next(), Some(PathBuf::from("/sys/fs/cgroup/c")));
        assert_eq!(Groups(String::new()).unified().count(), 0);
    }
}

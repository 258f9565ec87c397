//! The private root: the only files that the workload sees.
//!
//! Owns the order in which it is made. Runs in the child, in its new namespaces, with capabilities there.
//! Invariant: every target is opened beneath the new root without following a link, and mounted by descriptor.
//!
//! Order, each step relying on the one before:
//! 1. no mount propagates to or from the host;
//! 2. mounts of the host are copied, while their paths still mean what the host says;
//! 3. a tmpfs becomes the new root, attached over a directory that every host has;
//! 4. a second tmpfs holds /tmp, home, /dev/shm and the masks, under one size limit; a third one the output directory;
//! 5. /dev, then /proc, which the kernel grants only while the old /proc is still in sight;
//! 6. binds (that of the workspace behind an overlay, where the policy says so) and further tmpfs, outer targets first, then links, then masks, so that nothing covers a mask;
//! 7. pivot_root, the old root is detached, and the root itself turns read-only.

mod device;
mod overlay;
mod place;
mod proc;

pub(crate) use device::{devices, is_device};

use crate::failure::{At, Failure, Step};
use crate::host_mount;
use crate::layer::{Layer, MissingLayer};
use crate::plan::{Kind, PlanSpec, Role, SCRATCH, TmpfsSpec, open_exactly};
use crate::policy::{HOME, OUTPUT, Proc};
use crate::protocol::Overlay;
use crate::sys::mount::{self, Reach};
use nix::mount::{MntFlags, MsFlags, umount2};
use place::Place;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Directories over which the new root may be attached before it becomes the root; the first that exists is taken.
const STAGES: [&str; 4] = ["/tmp", "/usr", "/etc", "/dev"];

/// Limit of the root's own tmpfs: it holds directories and links only.
const ROOT_BYTES: u64 = 1 << 20;

/// One inode for each page: with fewer, small files fill the tmpfs before its bytes do.
const BYTES_PER_INODE: u64 = 4_096;

/// The private root, once it is entered.
pub(crate) struct Entered {
    /// The layers that the host does not allow.
    pub(crate) missing: Vec<MissingLayer>,
    /// The roots of the plan's binds, as they are mounted.
    pub(crate) binds: Vec<OwnedFd>,
    /// Whether there is a /proc.
    pub(crate) has_proc: bool,
    /// The overlay of the workspace, where the policy has one.
    pub(crate) overlay: Option<Overlay>,
}

/// Makes the private root and enters it. `copied` are the binds that the launch helper could copy; else they are opened
/// here by path.
pub(crate) fn enter(
    spec: &PlanSpec,
    planned: &[OwnedFd],
    copied: Option<Vec<OwnedFd>>,
) -> Result<Entered, Failure> {
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .at(Step::RestrictMount, "/")?;
    let mut binds = match copied {
        Some(copied) => copied,
        None => spec
            .binds
            .iter()
            .zip(planned)
            .map(|(bind, planned)| host_mount::copy_by_path(bind, planned.as_fd()))
            .collect::<Result<_, _>>()?,
    };
    let devices = device::copy()?;

    let root = tmpfs(ROOT_BYTES, "0755", "/")?;
    let stage = STAGES
        .iter()
        .find_map(|path| open_exactly(Path::new(path)).ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        .at(Step::AttachMount, "/")?;
    mount::attach(root.as_fd(), stage.as_fd()).at(Step::AttachMount, "/")?;
    let mut place = Place::new(root)?;

    let scratch = Scratch::make(&mut place, spec.tmp_bytes)?;
    if let Some(bytes) = spec.output_bytes {
        let output = tmpfs(bytes, "0700", OUTPUT)?;
        let target = place.directory(Path::new(OUTPUT))?;
        mount::attach(output.as_fd(), target.as_fd()).at(Step::AttachMount, OUTPUT)?;
    }
    device::make(&mut place, devices)?;
    scratch.show(&mut place, c"shm", "/dev/shm")?;
    let mut missing = Vec::new();
    let mut has_proc = true;
    match proc::make(&mut place, &scratch, spec.proc) {
        Ok(()) if spec.proc == Proc::Masked => {}
        Ok(()) => missing.push(MissingLayer::new(
            Layer::PrivateProc,
            "only in part: the policy leaves it unmasked, so that a nested sandbox can have its own",
        )),
        Err(failure)
            if failure.step == Step::MakeFilesystem && failure.isolation_unavailable() =>
        {
            has_proc = false;
            missing.push(MissingLayer::new(Layer::PrivateProc, failure.to_string()));
        }
        Err(failure) => return Err(failure),
    }
    for path in ["/run", "/var", "/sys"] {
        place.directory(Path::new(path))?;
    }
    place.link(Path::new("/tmp"), Path::new("/var/tmp"))?;

    let mut in_memory = spec.tmpfs.iter().peekable();
    let mut overlay = None;
    for (bind, mount) in spec.binds.iter().zip(&mut binds) {
        if let Some(bytes) = spec.overlay_bytes.filter(|_| spec.is_overlaid(bind)) {
            let made = overlay::over(&mut place, mount.as_fd(), bytes)
                .and_then(|made| Ok((made.merged.try_clone()?, made)))
                .at(Step::MakeFilesystem, format!("overlay of {}", bind.source))?;
            *mount = made.0;
            overlay = Some(made.1);
        }
        let target = bind.target.as_path();
        // Binds of the policy are in the order of their depth, those of the system come before all of them.
        let is_outer = |tmpfs: &&TmpfsSpec| {
            bind.role != Role::System && depth(tmpfs.target.as_path()) < depth(target)
        };
        while let Some(tmpfs) = in_memory.next_if(is_outer) {
            show_tmpfs(&mut place, tmpfs)?;
        }
        let target = match bind.kind {
            Kind::Directory => place.directory(target)?,
            Kind::File => place.file(target)?,
        };
        mount::attach(mount.as_fd(), target.as_fd()).at(Step::AttachMount, &bind.target)?;
    }
    for tmpfs in in_memory {
        show_tmpfs(&mut place, tmpfs)?;
    }
    for link in &spec.links {
        place.link(link.to.as_path(), link.path.as_path())?;
    }
    for mask in &spec.masks {
        scratch.mask(&place, mask.as_path())?;
    }
    for mask in &spec.system_masks {
        scratch.mask_if_reachable(&place, mask.as_path())?;
    }
    scratch.close(&place)?;

    let root = place.into_root();
    nix::unistd::fchdir(&root).at(Step::PivotRoot, "/")?;
    // With both names ".", the old root ends up on top of the new one and is detached from there, pivot_root(2).
    nix::unistd::pivot_root(".", ".").at(Step::PivotRoot, "/")?;
    umount2(".", MntFlags::MNT_DETACH).at(Step::PivotRoot, "/")?;
    nix::unistd::chdir("/").at(Step::PivotRoot, "/")?;
    let attributes = mount::READ_ONLY | mount::NO_SETUID | mount::NO_DEVICES;
    mount::restrict(root.as_fd(), attributes, Reach::One).at(Step::RestrictMount, "/")?;
    Ok(Entered {
        missing,
        binds,
        has_proc,
        overlay,
    })
}

fn tmpfs(bytes: u64, mode: &str, name: &str) -> Result<OwnedFd, Failure> {
    let filesystem = mount::open_filesystem(c"tmpfs").at(Step::MakeFilesystem, name)?;
    let inodes = (bytes / BYTES_PER_INODE).max(1_024);
    let options = [
        (c"size", bytes.to_string()),
        (c"nr_inodes", inodes.to_string()),
        (c"mode", mode.to_owned()),
    ];
    for (key, value) in options {
        let value = CString::new(value)
            .map_err(io::Error::from)
            .at(Step::MakeFilesystem, name)?;
        mount::configure(filesystem.as_fd(), key, &value).at(Step::MakeFilesystem, name)?;
    }
    mount::create(filesystem.as_fd()).at(Step::MakeFilesystem, name)?;
    let attributes = mount::NO_SETUID | mount::NO_DEVICES;
    mount::detached(filesystem.as_fd(), attributes).at(Step::MakeFilesystem, name)
}

fn depth(path: &Path) -> usize {
    path.components().count()
}

/// Makes a tmpfs that the policy names; what is inside of it may be a target of others.
fn show_tmpfs(place: &mut Place, spec: &TmpfsSpec) -> Result<(), Failure> {
    let path = spec.target.as_path();
    let made = tmpfs(spec.bytes, "0755", &spec.target.to_string())?;
    let target = place.directory(path)?;
    mount::attach(made.as_fd(), target.as_fd()).at(Step::AttachMount, path.display())?;
    place.accept(&Place::new(made)?);
    Ok(())
}

/// The tmpfs behind /tmp, home, /dev/shm and every mask.
struct Scratch {
    root: Place,
}

impl Scratch {
    fn make(place: &mut Place, bytes: u64) -> Result<Self, Failure> {
        let filesystem = tmpfs(bytes, "0755", "/tmp")?;
        let target = place.directory(Path::new(SCRATCH))?;
        mount::attach(filesystem.as_fd(), target.as_fd()).at(Step::AttachMount, SCRATCH)?;
        let root = Place::new(filesystem)?;
        let directories = [
            ("tmp", 0o1777),
            ("home", 0o700),
            ("shm", 0o1777),
            ("hidden", 0o555),
        ];
        for (name, mode) in directories {
            root.own_directory(name, mode)?;
        }
        root.own_file("hidden-file", 0)?;
        let scratch = Self { root };
        place.accept(&scratch.root);
        scratch.show(place, c"tmp", "/tmp")?;
        scratch.show(place, c"home", HOME)?;
        Ok(scratch)
    }

    /// Attaches one of the directories.
    fn show(&self, place: &mut Place, name: &CStr, target: &str) -> Result<(), Failure> {
        let copied = self.root.copy_own(name).at(Step::CopyMount, target)?;
        let target_directory = place.directory(Path::new(target))?;
        mount::attach(copied.as_fd(), target_directory.as_fd()).at(Step::AttachMount, target)
    }

    /// Hides a path behind an empty directory or an unreadable file.
    fn mask(&self, place: &Place, path: &Path) -> Result<(), Failure> {
        let target = place.open(path).at(Step::MaskPath, path.display())?;
        self.cover(&target).at(Step::MaskPath, path.display())
    }

    /// Hides a path unless it does not exist here or not even this process, with the workload's id, can reach it.
    fn mask_if_reachable(&self, place: &Place, path: &Path) -> Result<(), Failure> {
        match place.open(path) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) =>
            {
                Ok(())
            }
            opened => opened.and_then(|target| self.cover(&target)),
        }
        .at(Step::MaskPath, path.display())
    }

    fn cover(&self, target: &OwnedFd) -> io::Result<()> {
        let name = match place::kind_of(target)? {
            Kind::Directory => c"hidden",
            Kind::File => c"hidden-file",
        };
        let copied = self.root.copy_own(name)?;
        let attributes = mount::READ_ONLY | mount::NO_SETUID | mount::NO_DEVICES | mount::NO_EXEC;
        mount::restrict(copied.as_fd(), attributes, Reach::One)?;
        mount::attach(copied.as_fd(), target.as_fd())
    }

    /// Takes the tmpfs out of sight; its directories live on where they are shown.
    fn close(self, place: &Place) -> Result<(), Failure> {
        let directory = self.root.into_root();
        nix::unistd::fchdir(&directory).at(Step::AttachMount, SCRATCH)?;
        umount2(".", MntFlags::MNT_DETACH).at(Step::AttachMount, SCRATCH)?;
        nix::unistd::chdir("/").at(Step::AttachMount, SCRATCH)?;
        place.remove_directory(Path::new(SCRATCH))
    }
}

//! What is asked of the kernel, by a double that notes it; and an emulator that emulates nothing.

use std::collections::BTreeSet;
use std::sync::Mutex as Lock;

use super::*;

const ONE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const CORRUPT: Impairment = Impairment::Corrupt { percent: 3.0 };
const DUPLICATE: Impairment = Impairment::Duplicate { percent: 5.0 };

/// An emulator that remembers what it was told and does nothing.
#[derive(Default)]
pub(crate) struct MemoryEmulator(Lock<BTreeSet<String>>);

impl MemoryEmulator {
    pub(crate) fn shared() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn holds(&self, id: &str) -> bool {
        self.0.lock().unwrap().contains(id)
    }
}

#[async_trait]
impl Emulator for MemoryEmulator {
    async fn put(&self, id: &str, _: &[Ipv4Addr], _: &Impairment) -> Result<(), NetemError> {
        self.0.lock().unwrap().insert(id.to_owned());
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<(), NetemError> {
        self.0.lock().unwrap().remove(id);
        Ok(())
    }
}

/// A kernel that notes what is asked of it, on as many interfaces, and has netem or not.
pub(crate) struct Recorder {
    interfaces: Vec<u32>,
    has_netem: bool,
    taken: Lock<Vec<(u32, Step)>>,
}

impl Recorder {
    fn with(interfaces: &[u32], has_netem: bool) -> Arc<Self> {
        Arc::new(Self {
            interfaces: interfaces.to_vec(),
            has_netem,
            taken: Lock::default(),
        })
    }

    pub(crate) fn without_netem() -> Arc<Self> {
        Self::with(&[2], false)
    }

    /// The steps taken since the last look.
    fn taken(&self) -> Vec<(u32, Step)> {
        std::mem::take(&mut self.taken.lock().unwrap())
    }

    /// What stands on an interface after all that was taken.
    fn stands(&self, interface: u32) -> Tree {
        let mut tree = Tree::default();
        for (at, step) in self.taken() {
            if at == interface {
                tree.record(&step);
            }
        }
        tree
    }
}

#[async_trait]
impl TrafficControl for Recorder {
    async fn interfaces(&self) -> Result<Vec<u32>, NetemError> {
        Ok(self.interfaces.clone())
    }

    async fn take(&self, interface: u32, step: &Step) -> Result<(), NetemError> {
        if matches!(step, Step::AddNetem(..)) && !self.has_netem {
            return Err(NetemError {
                is_missing: true,
                ..NetemError::new("adding netem", "no such thing")
            });
        }
        self.taken.lock().unwrap().push((interface, step.clone()));
        Ok(())
    }
}

fn of(impairments: &[Impairment]) -> Combined {
    let combine = |combined: Combined, impairment: &Impairment| combined.with(impairment);
    impairments.iter().try_fold(Combined::default(), combine).unwrap()
}

#[tokio::test]
async fn a_fault_stands_on_every_interface_that_leads_out() {
    let kernel = Recorder::with(&[2, 7], true);
    let netem = Netem::new(kernel.clone());
    netem.put("1", &[ONE], &CORRUPT).await.unwrap();
    let tree = |interface| {
        [
            Step::AddRoot,
            Step::AddClass(1),
            Step::AddNetem(1, of(&[CORRUPT])),
            Step::AddFilter(1, ONE, 1),
        ]
        .map(|step| (interface, step))
    };
    assert_eq!(kernel.taken(), [tree(2), tree(7)].concat());
}

#[tokio::test]
async fn two_faults_on_a_peer_act_together_and_each_leaves_the_other_when_it_goes() {
    let kernel = Recorder::with(&[2], true);
    let netem = Netem::new(kernel.clone());
    netem.put("1", &[ONE, TWO], &CORRUPT).await.unwrap();
    kernel.taken();
    netem.put("2", &[ONE], &DUPLICATE).await.unwrap();
    let both = of(&[CORRUPT, DUPLICATE]);
    let expected = [
        Step::AddClass(2),
        Step::AddNetem(2, both),
        Step::AddFilter(3, ONE, 2),
        Step::DropFilter(1),
    ];
    assert_eq!(kernel.taken(), expected.map(|step| (2, step)));
    netem.remove("1").await.unwrap();
    let duplicate_only = kernel.taken();
    assert!(
        duplicate_only.contains(&(2, Step::AddNetem(3, of(&[DUPLICATE])))),
        "{duplicate_only:?}"
    );
    assert!(
        duplicate_only.contains(&(2, Step::DropFilter(2))),
        "the other peer is free"
    );
}

#[tokio::test]
async fn removing_is_idempotent_and_leaves_nothing() {
    let kernel = Recorder::with(&[2], true);
    let netem = Netem::new(kernel.clone());
    netem.remove("1").await.unwrap();
    assert_eq!(kernel.taken(), [], "nothing is asked of the kernel for nothing");
    netem.put("1", &[ONE], &CORRUPT).await.unwrap();
    netem.remove("1").await.unwrap();
    assert!(kernel.stands(2).is_empty());
    netem.remove("1").await.unwrap();
    assert_eq!(kernel.taken(), []);
}

#[tokio::test]
async fn a_fault_put_again_is_replaced() {
    let kernel = Recorder::with(&[2], true);
    let netem = Netem::new(kernel.clone());
    netem.put("1", &[ONE], &CORRUPT).await.unwrap();
    netem.put("1", &[TWO], &DUPLICATE).await.unwrap();
    let mut expected = Tree::default();
    for step in [
        Step::AddRoot,
        Step::AddClass(2),
        Step::AddNetem(2, of(&[DUPLICATE])),
        Step::AddFilter(2, TWO, 2),
    ] {
        expected.record(&step);
    }
    assert_eq!(kernel.stands(2), expected);
}

#[tokio::test]
async fn a_kernel_without_netem_is_left_as_it_was() {
    let kernel = Recorder::without_netem();
    let netem = Netem::new(kernel.clone());
    let error = netem.put("1", &[ONE], &CORRUPT).await.unwrap_err();
    assert!(error.is_missing());
    let message = error.to_string();
    assert!(
        message.contains("adding netem: no such thing") && message.contains("hint"),
        "{message}"
    );
    let taken = kernel.taken();
    assert_eq!(
        taken.iter().map(|(_, step)| step.clone()).collect::<Vec<_>>(),
        [
            Step::AddRoot,
            Step::AddClass(1),
            Step::Drain(1),
            Step::DropClass(1),
            Step::DropRoot
        ]
    );
}

#[tokio::test]
async fn faults_that_exclude_each_other_are_refused_and_the_first_goes_on() {
    let kernel = Recorder::with(&[2], true);
    let netem = Netem::new(kernel.clone());
    netem.put("1", &[ONE], &CORRUPT).await.unwrap();
    kernel.taken();
    let error = netem.put("2", &[TWO, ONE], &CORRUPT).await.unwrap_err();
    assert!(error.to_string().contains("10.0.0.1"), "{error}");
    assert_eq!(kernel.taken(), [], "nothing was changed");
    netem.put("3", &[TWO], &CORRUPT).await.unwrap();
    assert_eq!(kernel.taken(), [(2, Step::AddFilter(2, TWO, 1))]);
}

#[tokio::test]
async fn a_namespace_that_nothing_leads_out_of_is_an_error() {
    let netem = Netem::new(Recorder::with(&[], true));
    let error = netem.put("1", &[ONE], &CORRUPT).await.unwrap_err();
    assert!(error.to_string().contains("none leads out"), "{error}");
}

#[tokio::test]
async fn what_an_earlier_agent_left_is_cleared() {
    let kernel = Recorder::with(&[2, 7], true);
    let netem = Netem::new(kernel.clone());
    netem.put("1", &[ONE], &CORRUPT).await.unwrap();
    kernel.taken();
    netem.clear().await.unwrap();
    assert_eq!(kernel.taken(), [(2, Step::DropRoot), (7, Step::DropRoot)]);
    netem.remove("1").await.unwrap();
    assert_eq!(kernel.taken(), [], "it has no faults any longer");
}

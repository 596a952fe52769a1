//! Rounds of writing, killing and checking, on one storage.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::disk::Kind;
use crate::draw::Draw;
use crate::model::{Fate, Model};
use crate::plan::Side;
use crate::process::{Process, Said, Start};
use crate::replica::{Contents, catch_up};

/// After how many rounds both replicas begin anew, in empty directories: kills must meet the creation of a storage, too.
const ROUNDS_OF_A_LIFE: u64 = 25;

/// What a campaign has done.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    rounds: u64,
    kills: u64,
    /// Kills between the call of an operation and its acknowledgement.
    kills_in_operation: u64,
    /// Kills before the victim had opened its store.
    kills_in_opening: u64,
    /// How many operations that were not acknowledged are there all the same.
    made_unacknowledged: u64,
    /// Operations that were acknowledged, each checked after its round and all later ones of its life.
    acknowledged: u64,
    catch_ups: u64,
    received: u64,
    duplicates: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, kills, kills_in_operation, kills_in_opening, made_unacknowledged, .. } = self;
        let Self { acknowledged, catch_ups, received, duplicates, .. } = self;
        write!(
            formatter,
            "{rounds} rounds, {kills} kills ({kills_in_operation} within a write, of which {made_unacknowledged} were made whole; \
             {kills_in_opening} while opening), {acknowledged} acknowledged writes checked, \
             caught up {catch_ups} times with {received} documents and {duplicates} duplicates"
        )
    }
}

/// When a writer is killed: some microseconds after it has said so much.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Started,
    Joined,
    Acknowledged(u64),
}

/// What a round does.
#[derive(Debug)]
struct Round {
    /// How many operations each side makes before it joins the room.
    alone: [u64; 2],
    /// Whom to kill, and by whose words the moment is told.
    victims: Vec<Side>,
    moment: Moment,
    delay: Duration,
    /// Whether the replicas catch up before the next round, or go on apart.
    catches_up: bool,
}

impl Round {
    fn drawn(seed: u64, round: u64) -> Self {
        let mut draw = Draw::new(seed, &[2, round]);
        let mut alone = || if draw.below(3) == 0 { draw.below(30) } else { 0 };
        let alone = [alone(), alone()];
        let victims = match draw.below(5) {
            0 => Side::BOTH.to_vec(),
            1 | 2 => vec![Side::Left],
            _ => vec![Side::Right],
        };
        let (moment, delay_us_max) = match draw.below(8) {
            0 => (Moment::Started, 60_000),
            1 | 2 => (Moment::Joined, 30_000),
            _ => (Moment::Acknowledged(draw.below(40)), 5_000),
        };
        let delay = Duration::from_micros(draw.below(delay_us_max));
        let catches_up = draw.below(2) == 0 || round % ROUNDS_OF_A_LIFE == ROUNDS_OF_A_LIFE - 1;
        Self { alone, victims, moment, delay, catches_up }
    }
}

/// One storage under test.
pub(crate) struct Campaign<'a> {
    kind: Kind,
    seed: u64,
    place: &'a Path,
    figures: Figures,
    life: Life,
}

/// Two replicas from empty directories on.
struct Life {
    directories: [PathBuf; 2],
    models: [Model; 2],
    /// The number of each side's next operation.
    next: [u64; 2],
    before: Option<[Contents; 2]>,
}

impl Life {
    fn new(place: &Path, seed: u64, number: u64) -> Self {
        let directory = |side: Side| place.join(format!("{number}-{side}"));
        Self {
            directories: Side::BOTH.map(directory),
            models: Side::BOTH.map(|side| Model::new(seed, side)),
            next: [0, 0],
            before: None,
        }
    }
}

impl<'a> Campaign<'a> {
    /// A campaign that keeps its replicas below `place`.
    pub(crate) fn new(kind: Kind, seed: u64, place: &'a Path) -> Self {
        Self { kind, seed, place, figures: Figures::default(), life: Life::new(place, seed, 0) }
    }

    /// Makes the rounds, and fails at the first promise that is broken.
    pub(crate) async fn run(mut self, rounds: std::ops::Range<u64>) -> anyhow::Result<Figures> {
        let end = rounds.end;
        for number in rounds {
            if number % ROUNDS_OF_A_LIFE == 0 {
                self.life.directories.iter().for_each(|directory| drop(std::fs::remove_dir_all(directory)));
                self.life = Life::new(self.place, self.seed, number / ROUNDS_OF_A_LIFE);
            }
            let round = Round::drawn(self.seed, number);
            let told = format!("round {number} of seed {} on {}: {round:?}", self.seed, self.kind.name());
            self.round(&round).await.context(told)?;
            self.figures.rounds += 1;
            if self.figures.rounds.is_multiple_of(ROUNDS_OF_A_LIFE) {
                let Figures { kills, acknowledged, .. } = self.figures;
                let done = number + 1;
                eprintln!(
                    "{}: {done} of {end} rounds, {kills} kills, {acknowledged} writes",
                    self.kind.name()
                );
            }
        }
        Ok(self.figures)
    }

    async fn round(&mut self, round: &Round) -> anyhow::Result<()> {
        let said = self.write_and_kill(round)?;
        self.count(round, &said);
        let contents = [self.read(Side::Left).await?, self.read(Side::Right).await?];
        for side in Side::BOTH {
            let index = side as usize;
            let said = &said[index];
            let model = &mut self.life.models[index];
            if let Some(done) = said.done {
                (self.life.next[index]..=done).for_each(|number| model.made(number));
            }
            let fate = model.check(&contents[index].of(side), said.under_way());
            let fate = fate.with_context(|| format!("on the disk of {side}, after {said:?}"))?;
            self.figures.made_unacknowledged += u64::from(fate == Fate::Made);
            self.life.next[index] = said.begun.map_or(self.life.next[index], |begun| begun + 1);
            if let Some(before) = &self.life.before {
                contents[index]
                    .ensure_includes(&before[index])
                    .with_context(|| format!("on the disk of {side}"))?;
            }
        }
        self.life.before = Some(match round.catches_up {
            true => self.catch_up(contents).await?,
            false => contents,
        });
        Ok(())
    }

    /// Lets both write and replicate, kills whom it may concern, and stops whoever is left.
    fn write_and_kill(&self, round: &Round) -> anyhow::Result<[Said; 2]> {
        let left = self.start(Side::Left, round, None)?;
        let address = left.wait_for(|said| said.listening.is_some())?.listening;
        let right = self.start(Side::Right, round, address)?;
        let mut running = [Some(left), Some(right)];
        let first = running[round.victims[0] as usize].as_ref().expect("both run");
        match round.moment {
            Moment::Started => None,
            Moment::Joined => Some(first.wait_for(|said| said.joined)?),
            Moment::Acknowledged(number) => Some(first.wait_for(|said| said.acknowledged >= number)?),
        };
        // Nothing waits for this: it is the moment of the fault.
        std::thread::sleep(round.delay);
        let mut said = [Said::default(), Said::default()];
        for side in &round.victims {
            let process = running[*side as usize].take().expect("nobody is killed twice");
            said[*side as usize] = process.kill()?;
        }
        for side in Side::BOTH {
            if let Some(process) = running[side as usize].take() {
                said[side as usize] = process.stop()?;
            }
        }
        Ok(said)
    }

    fn start(
        &self,
        side: Side,
        round: &Round,
        dial: Option<std::net::SocketAddr>,
    ) -> anyhow::Result<Process> {
        let index = side as usize;
        let start = Start { side, from: self.life.next[index], alone: round.alone[index], dial };
        Process::start(self.kind, &self.life.directories[index], self.seed, &start)
    }

    fn count(&mut self, round: &Round, said: &[Said; 2]) {
        self.figures.acknowledged += said.iter().map(|said| said.acknowledged).sum::<u64>();
        for side in &round.victims {
            let said = &said[*side as usize];
            self.figures.kills += 1;
            self.figures.kills_in_operation += u64::from(said.under_way().is_some());
            self.figures.kills_in_opening += u64::from(!said.open);
        }
    }

    async fn read(&self, side: Side) -> anyhow::Result<Contents> {
        let contents = Contents::read(self.kind, &self.life.directories[side as usize]).await;
        contents.with_context(|| format!("the disk of {side}"))
    }

    /// Lets both catch up, and checks that each got what it lacked, that nothing is missing, and nothing is torn.
    async fn catch_up(&mut self, before: [Contents; 2]) -> anyhow::Result<[Contents; 2]> {
        let lacking = [before[0].lacks(&before[1]), before[1].lacks(&before[0])];
        let directories = [&*self.life.directories[0], &*self.life.directories[1]];
        let received = catch_up(self.kind, &directories).await?;
        for (received, lacking) in received.iter().zip(lacking) {
            let new = received.documents - received.duplicates;
            ensure!(new == lacking, "{lacking} documents were lacking, and {received:?}");
            self.figures.received += received.documents;
            self.figures.duplicates += received.duplicates;
        }
        self.figures.catch_ups += 1;
        let after = [self.read(Side::Left).await?, self.read(Side::Right).await?];
        after[0].ensure_equal(&after[1])?;
        for (model, side) in self.life.models.iter_mut().zip(Side::BOTH) {
            for contents in &after {
                model.check(&contents.of(side), None).context("after catching up")?;
            }
        }
        Ok(after)
    }
}

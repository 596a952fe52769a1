//! Asks the same handler in other processes: with another time zone, another language and other hash seeds.
//!
//! The own program is started again; where it would judge the handler it answers questions instead. Histories go in through
//! its standard input, one answer for each comes out of its standard output.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::checks::answers;
use crate::history::History;
use crate::subject::Subject;

/// Names the laws whose questions a process is to answer.
const ASKED: &str = "PEERLOOM_LAWS_ASKED";

const ANSWER: &str = "peerloom-laws answers ";

/// Time zones and languages, which also order and fold letters differently.
const COUNTRIES: [(&str, &str); 3] =
    [("Pacific/Kiritimati", "tr_TR.UTF-8"), ("America/St_Johns", "C"), ("Asia/Kathmandu", "de_DE.UTF-8")];

/// How the own program is started so that it judges the handler.
#[derive(Clone, Debug)]
pub(crate) struct OtherProcesses {
    pub(crate) arguments: Vec<OsString>,
}

/// Another process did not do as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// It could not be started or talked to.
    #[error("cannot ask this program in another process")]
    Failed(#[from] std::io::Error),
    /// It was started and did not come to where it would have judged the handler.
    #[error(
        "this program, started again with {arguments:?}, answered {answered} of {asked} questions; it said: {said}"
    )]
    Silent {
        /// Its arguments.
        arguments: Vec<OsString>,
        /// Answers.
        answered: usize,
        /// Questions.
        asked: usize,
        /// The end of what it printed.
        said: String,
    },
}

/// The number of processes that are asked.
pub(crate) const PROCESSES: usize = COUNTRIES.len();

/// Whether this process is one that is asked about these laws.
pub(crate) fn is_asked(name: &str) -> bool {
    std::env::var_os(ASKED).is_some_and(|asked| asked == *name)
}

/// Whether this process is one that is asked about any laws.
pub(crate) fn is_any_asked() -> bool {
    std::env::var_os(ASKED).is_some()
}

/// Answers all questions.
pub(crate) fn answer(subject: &Subject) -> Result<(), ProcessError> {
    let mut questions = String::new();
    std::io::stdin().read_to_string(&mut questions)?;
    let mut out = String::new();
    for question in questions.lines() {
        let history: History = serde_json::from_str(question).map_err(std::io::Error::from)?;
        out.push_str(&format!("\n{ANSWER}{:x}\n", answers(subject, &history)));
    }
    // Tests' output is captured, but not what is written to the stream itself.
    std::io::stdout().write_all(out.as_bytes())?;
    Ok(())
}

impl OtherProcesses {
    /// The first of the histories about which another process says something else.
    pub(crate) fn first_difference(
        &self,
        name: &str,
        subject: &Subject,
        histories: &[History],
    ) -> Result<Option<usize>, ProcessError> {
        let own: Vec<u64> = histories.iter().map(|history| answers(subject, history)).collect();
        let mut first = None;
        for country in COUNTRIES {
            let answers = self.ask(name, country, histories)?;
            let difference = own.iter().zip(&answers).position(|(own, other)| own != other);
            first = first.into_iter().chain(difference).min();
        }
        Ok(first)
    }

    fn ask(
        &self,
        name: &str,
        (zone, language): (&str, &str),
        histories: &[History],
    ) -> Result<Vec<u64>, ProcessError> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(&self.arguments)
            .env(ASKED, name)
            .env("TZ", zone)
            .env("LANG", language)
            .env("LC_ALL", language)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let questions: Result<Vec<String>, _> = histories.iter().map(serde_json::to_string).collect();
        let questions = questions.map_err(std::io::Error::from)?.join("\n");
        let asked = child.stdin.take().expect("the pipe was asked for").write_all(questions.as_bytes());
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let answer = |line: &str| u64::from_str_radix(line.strip_prefix(ANSWER)?, 16).ok();
        let answers: Vec<u64> = said.lines().filter_map(answer).collect();
        if answers.len() != histories.len() {
            let skipped = said.chars().count().saturating_sub(500);
            return Err(ProcessError::Silent {
                arguments: self.arguments.clone(),
                answered: answers.len(),
                asked: histories.len(),
                said: said.chars().skip(skipped).collect(),
            });
        }
        asked?;
        Ok(answers)
    }
}

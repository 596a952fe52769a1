//! The command line.

use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::failure::EXIT_CODES;
use crate::settings::{Given, VARIABLE_PREFIX};

/// An always-on peer: it keeps collections of documents and replicates them with everybody who has the same topic.
///
/// `serve` runs it. The other commands work with its documents, whether it is being served or not.
#[derive(Debug, Parser)]
#[command(name = "peerloom-peer", version, max_term_width = 110)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) settings: Given,

    /// Print JSON: one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Joins the rooms and replicates until SIGTERM or Ctrl-C
    Serve,
    /// Prints an invitation to the room, as text and as a QR code, or makes a new room of a topic
    ///
    /// Whoever has the invitation can join: send it as you would send a password.
    Invite(Invite),
    /// Takes an invitation: writes it into the settings file, so that `serve` joins the room
    Join(Join),
    /// Writes the documents of a file, one JSON object a line, in large commits
    ///
    /// A line is {"id":"1","value":{…}}, or with "base64":"…" or "deleted":true in place of the value, as `export` and
    /// `list --json` print it. A malformed line stops the import; what stands before it is imported then.
    Import(Import),
    /// Prints all documents, or writes them into a file, in the form that `import` reads
    Export {
        #[command(flatten)]
        of: Of,
        /// Only documents whose id starts with this
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        prefix: String,
        /// The file, which is replaced when all is written. Standard output if there is none
        file: Option<PathBuf>,
    },
    /// Writes a document over whatever is there
    Put {
        #[command(flatten)]
        of: Of,
        /// The document's id
        id: String,
        /// What it holds, in JSON. Read from standard input if it is not given
        value: Option<String>,
        /// Take standard input as it is, not as JSON
        #[arg(long, conflicts_with = "value")]
        binary: bool,
    },
    /// Prints a document
    Get {
        #[command(flatten)]
        of: Of,
        /// The document's id
        id: String,
    },
    /// Deletes a document
    Delete {
        #[command(flatten)]
        of: Of,
        /// The document's id
        id: String,
    },
    /// Lists documents in the order of their ids
    List {
        #[command(flatten)]
        of: Of,
        /// Only documents whose id starts with this
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        prefix: String,
        /// Only documents whose id comes after this
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// At most so many
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
        /// The ids alone
        #[arg(long)]
        ids: bool,
    },
    /// Prints documents as they change, from wherever the changes come. Needs a peer that is being served
    Watch {
        #[command(flatten)]
        of: Of,
        /// Begin with all documents there are
        #[arg(long)]
        from_start: bool,
    },
    /// Lists the documents of which several versions stand beside each other; `put` or `delete` settles one
    Conflicts {
        #[command(flatten)]
        of: Of,
    },
    /// Tells who this peer is and who is connected. Needs a peer that is being served
    Status,
    /// Waits for the first peer, and until every connected one has all that was written here, and this one all that they
    /// have. Needs a peer that is being served
    CatchUp,
}

/// What documents a command is about.
#[derive(Args, Clone, Debug)]
pub(crate) struct Of {
    /// The collection. Need not be given if the peer has only one
    #[arg(long, short, value_name = "NAME")]
    pub(crate) collection: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Invite {
    /// Make a room of this topic with a random key, and write it into the settings file, so that `serve` joins it
    #[arg(value_name = "TOPIC")]
    pub(crate) new_topic: Option<String>,
    /// Leave the QR code out
    #[arg(long)]
    pub(crate) no_qr: bool,
    /// Make it though there is another room in the settings, which is forgotten
    #[arg(long, requires = "new_topic")]
    pub(crate) replace: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Join {
    /// The invitation. Read from standard input if it is -, so that the shell's history does not have it
    pub(crate) invitation: String,
    /// Join though there is another room in the settings, which is forgotten
    #[arg(long)]
    pub(crate) replace: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Import {
    #[command(flatten)]
    pub(crate) of: Of,
    /// The file. Standard input if it is -
    pub(crate) file: PathBuf,
    /// Leave malformed lines out, and tell which
    #[arg(long)]
    pub(crate) skip_invalid: bool,
    /// Each line is a document as it is, with its id in this field
    #[arg(long, value_name = "FIELD")]
    pub(crate) id_field: Option<String>,
    /// Begin at this line
    #[arg(long, default_value_t = 1, hide_default_value = true, value_name = "NUMBER")]
    pub(crate) from_line: u64,
}

impl Arguments {
    /// From the process's arguments and environment. Ends the process if the arguments are wrong or ask for help.
    pub(crate) fn load() -> Self {
        let command = Self::command().mut_args(|argument| {
            if argument.get_id() == "json" {
                return argument;
            }
            let variable = format!("{VARIABLE_PREFIX}{}", argument.get_id().as_str().to_uppercase());
            // Lives as long as the process, which does this once.
            argument.env(Box::leak(variable.into_boxed_str()) as &'static str).hide_env(true)
        });
        let after_help = format!(
            "Each setting can also come from an environment variable, such as {VARIABLE_PREFIX}DATA, or from the file of \
             --config.\n\n{EXIT_CODES}"
        );
        let matches = command.after_help(after_help).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

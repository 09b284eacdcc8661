//! What can be said on the command line.

use {
    clap::{Args, Parser, Subcommand},
    core::{num::NonZeroUsize, str::FromStr},
    mosaik::{Criteria, Digest, PeerId, SecretKey, network::Preset},
    std::{io::IsTerminal, net::SocketAddr, num::NonZeroU64},
};

/// Processes that form a distributed system from a network name alone.
#[derive(Debug, Parser)]
#[command(name = "mosaik", version, about, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 items were lost, 130 interrupted.
Logs go to standard error; RUST_LOG chooses them, as in RUST_LOG=mosaik=debug.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run several nodes in this process and watch them find each other and stream.
    Demo(DemoArgs),
    /// Publish standard input on a stream, a line or a frame an item.
    #[command(after_help = PUB_HELP)]
    Pub(PubArgs),
    /// Write the items of a stream to standard output.
    #[command(after_help = SUB_HELP)]
    Sub(SubArgs),
    /// List who is in a network and what they offer.
    Peers(PeersArgs),
    /// Be a node that others can join the network through, until interrupted.
    Beacon(BeaconArgs),
}

const PUB_HELP: &str = "\
Nothing is lost: the slowest subscriber sets the pace. At the end of the input it waits until
every subscriber has everything, and exits.";

const SUB_HELP: &str = "\
Selection, for lines that are JSON:
  --where 'celsius > 30 and site in [\"oslo\", \"rome\"]'
  --where 'position.altitude >= 1_000 or not (tags has \"test\")'
  --where 'level == \"error\" sample 1/10 last 20'
Comparisons: == != < <= > >= in has; and, or, not, parentheses; `.` is the whole item;
`sample 1/10` takes one of ten; `last 20` first asks for the last 20 that were published.
It is evaluated where the items are published: what is not selected is not sent.";

impl Command {
    /// Whether the command draws on the whole terminal.
    pub(crate) fn draws(&self) -> bool {
        matches!(self, Self::Demo(args) if args.draws())
    }
}

/// Which network, and how to get into it.
#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    /// The network's name, or its id as 64 hex digits.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) network: String,
    /// How far it reaches: isolated, local, lan or internet [default: `MOSAIK_PRESET`, or local]
    #[arg(long, value_name = "PRESET")]
    pub(crate) preset: Option<Preset>,
    /// A node to join through: its id, or `id@host:port`. Repeatable; not needed among the
    /// processes of one user on one machine.
    #[arg(short, long = "peer", visible_alias = "peers", value_name = "PEER")]
    pub(crate) peers: Vec<Peer>,
    /// This node's identity: a key as 64 hex digits, or any text to derive one from
    /// [default: a new one]
    #[arg(short, long, value_name = "TEXT", value_parser = parse_secret)]
    pub(crate) secret: Option<Secret>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// How many nodes, one of which streams to the others.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=64))]
    pub(crate) nodes: u16,
    /// How long to stream.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
    /// Items a second; 0 is as many as it can.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) rate: u32,
    /// Print lines even if standard output is a terminal.
    #[arg(long)]
    pub(crate) plain: bool,
}

impl DemoArgs {
    pub(crate) fn draws(&self) -> bool {
        !self.plain && std::io::stdout().is_terminal()
    }
}

#[derive(Debug, Args)]
pub(crate) struct PubArgs {
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// The stream's name, or its id as 64 hex digits.
    pub(crate) stream: String,
    /// Send frames of so many bytes instead of lines.
    #[arg(
        long,
        value_name = "BYTES",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "65536",
        value_parser = parse_frame
    )]
    pub(crate) frames: Option<usize>,
    /// Start when so many subscribers are there; with 0, what nobody hears is gone.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) wait: usize,
    /// Keep so many items for subscribers that ask for the `last` ones.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) history: usize,
}

#[derive(Debug, Args)]
pub(crate) struct SubArgs {
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// The stream's name, or its id as 64 hex digits.
    pub(crate) stream: String,
    /// Exit after so many items.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<NonZeroU64>,
    /// Exit when everything that was published has arrived and no publisher is left.
    #[arg(long)]
    pub(crate) until_end: bool,
    /// Only items that this selects; see below.
    #[arg(long = "where", value_name = "SELECTION", value_parser = parse_criteria)]
    pub(crate) criteria: Option<Criteria>,
}

#[derive(Debug, Args)]
pub(crate) struct PeersArgs {
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// How many seconds to listen before listing.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = parse_seconds)]
    pub(crate) wait: f64,
    /// Go on, and tell who comes and goes.
    #[arg(long)]
    pub(crate) watch: bool,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BeaconArgs {
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// A tag of this node. Repeatable.
    #[arg(
        short,
        long = "tags",
        value_name = "TAG",
        default_value = "beacon-node"
    )]
    pub(crate) tags: Vec<String>,
    /// Use no relay, whatever the preset.
    #[arg(long)]
    pub(crate) no_relay: bool,
}

/// A node's id, and where it is if that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) address: Option<SocketAddr>,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, address) = match text.split_once('@') {
            Some((id, address)) => (id, Some(address)),
            None => (text, None),
        };
        let id = id
            .parse()
            .map_err(|error| format!("`{id}` is not a peer's id: {error}"))?;
        let parse = |address: &str| {
            address
                .parse()
                .map_err(|_| format!("`{address}` is not an address like 10.0.0.7:4433"))
        };
        Ok(Self {
            id,
            address: address.map(parse).transpose()?,
        })
    }
}

/// A secret key that does not show itself.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) SecretKey);

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret")
    }
}

// The parser's signature is clap's.
#[allow(clippy::unnecessary_wraps)]
fn parse_secret(text: &str) -> Result<Secret, String> {
    Ok(Secret(SecretKey::from_bytes(Digest::from(text).as_bytes())))
}

fn parse_criteria(text: &str) -> Result<Criteria, String> {
    text.parse().map_err(|error| format!("{error:#}"))
}

fn parse_frame(text: &str) -> Result<usize, String> {
    const MAX: usize = 16 << 20;
    let bytes: NonZeroUsize = text.parse().map_err(|error| format!("{error}"))?;
    if bytes.get() > MAX {
        Err(format!("at most {MAX}"))
    } else {
        Ok(bytes.get())
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0 to 86400".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use {super::*, clap::CommandFactory};

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split('|')).map(|cli| cli.command)
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn frames_may_have_a_size() {
        let frames = |line: &str| match parse(line) {
            Ok(Command::Pub(args)) => Ok((args.frames, args.stream)),
            Ok(_) => unreachable!("it is a pub"),
            Err(error) => Err(error.kind()),
        };
        assert_eq!(frames("mosaik|pub|-n|a|s"), Ok((None, "s".into())));
        assert_eq!(
            frames("mosaik|pub|-n|a|--frames|s"),
            Ok((Some(65_536), "s".into()))
        );
        assert_eq!(
            frames("mosaik|pub|-n|a|--frames=100|s"),
            Ok((Some(100), "s".into()))
        );
        assert!(frames("mosaik|pub|-n|a|--frames=0|s").is_err());
        assert!(frames("mosaik|pub|-n|a|--frames=99999999|s").is_err());
    }

    #[test]
    fn a_wrong_selection_points_at_the_place() {
        let error = parse("mosaik|sub|-n|a|s|--where|n > ")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("column 5") && error.contains("\n  n > \n      ^"),
            "{error}"
        );
    }

    #[test]
    fn beacons_take_the_documented_options() {
        let secret = "00".repeat(32);
        let id = SecretKey::from_bytes(&[0; 32]).public();
        let line = format!(
            "mosaik|beacon|-n|a|-s|{secret}|-p|{id}|--peers|{id}@127.0.0.1:9|-t|x|--no-relay"
        );
        let Ok(Command::Beacon(args)) = parse(&line) else {
            panic!("not a beacon: {line}")
        };
        assert_eq!(args.tags, ["x"]);
        assert!(args.no_relay);
        assert_eq!(
            args.network.secret.map(|secret| secret.0.public()),
            Some(id)
        );
        let address = Some(([127, 0, 0, 1], 9).into());
        assert_eq!(
            args.network.peers,
            [Peer { id, address: None }, Peer { id, address }]
        );
        assert!(parse("mosaik|beacon|-n|a|-p|nobody").is_err());
        assert!(parse("mosaik|beacon|-n|a|--preset|wan").is_err());
    }
}

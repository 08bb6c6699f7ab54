//! `repo serve`: the repository over HTTP.

use crate::context::{Context, Outcome};
use crate::output::Output;
use crate::serve::{self, Upstream};
use crate::symserver::{HttpSettings, HttpTransport, Url};
use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgMatches, Command, value_parser};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;

pub(super) fn cli() -> Command {
    Command::new("serve")
        .about("Serve the repository over HTTP, read only: profiles, ISF for Volatility 3, PDBs, web pages")
        .long_about(
            "Serve the repository over HTTP until Ctrl-C, read only; the address goes to stdout.\n\n\
             /                web pages\n\
             /v1.0/NAME[.gz]  profiles in Rekall's layout, and the inventory\n\
             /banners.json    the list for Volatility's --remote-isf-url, and /isf/NAME.json\n\
             /symbols         a symbol server: the PDBs in the repository's cache, and with --upstream those of another \
             server, which the cache then keeps",
        )
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("ADDRESS:PORT")
                .value_parser(value_parser!(SocketAddr))
                .default_value("127.0.0.1:8080")
                .help("Where to listen; with port 0 the system chooses one"),
        )
        .arg(Arg::new("upstream").long("upstream").value_name("URL").help("Symbol server to ask for PDBs that the cache lacks"))
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let listen = *args.get_one::<SocketAddr>("listen").context("--listen has a default")?;
    let upstream = args.get_one::<String>("upstream").map(|url| upstream(context, url)).transpose()?;
    let mut out = Output::open(context)?;
    let mut told = Ok(());
    serve::serve(root, listen, upstream, |address| {
        told = writeln!(out, "http://{address}/").and_then(|()| out.flush());
        context.note("Ctrl-C ends it");
    })?;
    told?;
    out.finish()?;
    Ok(Outcome::Done)
}

fn upstream(context: &Context, url: &str) -> Result<Upstream> {
    if context.globals.offline {
        bail!("--upstream asks a server, and --offline forbids it");
    }
    let url = Url::parse(url).with_context(|| format!("--upstream {url} is no URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        bail!("--upstream: PDBs are fetched over http and https, not {}", url.scheme());
    }
    let transport = HttpTransport::new(HttpSettings::default()).context("cannot set up the network client")?;
    Ok(Upstream { url, transport })
}

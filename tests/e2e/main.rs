//! End-to-end tests on the binary, on real inputs of the corpus and on fixtures made here.

mod bad_input;
mod build_id;
mod c_header;
mod cab;
mod compare;
mod convert_profile;
mod exports;
mod fetch_debuginfo;
mod fetch_pdb;
mod http_source;
mod image;
mod image_info;
mod imagecopy;
mod images;
mod isf;
mod limits;
mod linux;
mod lost_map;
mod mutation;
mod pdb;
mod peinfo;
mod readme;
mod repo;
mod repo_build;
mod repo_bundle;
mod repo_hostile;
mod repo_import;
mod repo_import_url;
mod repo_inventory;
mod repo_killed;
mod repo_lint;
mod repo_linux;
mod repo_login;
mod repo_signed;
mod repo_sync;
mod seeds;
mod serve;
mod support;
mod symbol_offsets;
mod symbol_server;
mod truth;
mod variants;
mod version_scan;
mod windows;

/// Tests of hostile input measure what it makes a reader ask for.
#[global_allocator]
static ALLOCATOR: limits::Counting = limits::Counting;

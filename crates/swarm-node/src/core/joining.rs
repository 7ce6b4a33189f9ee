//! The ways into a swarm: making one, and joining one.

use std::net::{IpAddr, SocketAddr};

use ring::rand::{SecureRandom, SystemRandom};
use swarm_manager::address_pools;
use swarm_manager::ca::{JoinToken, format_token, token_digest, token_secret};
use swarm_manager::control_api::FreshSecrets;
use swarm_manager::manager::{Manager, ManagerConfig, first_network_keys};
use swarm_types::{
    Cluster, ClusterId, JoinTokens, ManagerPeer, Meta, NodeCertificate, NodeId, NodeRole, RootCa, SecretBytes,
    SecretString, Timestamp,
};
use tokio::task::AbortHandle;
use tracing::info;

use super::address::{advertise_addr, data_path_addr, listen_addr, remote_addr, system_addr};
use super::handle::Reply;
use super::identity::Identity;
use super::managing::Managing;
use super::member::{Member, remove_state};
use super::requests::{certificate_by_token, new_node};
use super::{
    Context, Core, InitOptions, JOIN_PATIENCE, JoinOptions, Mail, NodeError, NodeErrorKind, messages, now, random_id,
    seed,
};
use crate::ca::{NewKey, Root, issue_node_certificate, read_request, root_digest};
use crate::storage::create_private_dir;
use crate::transport::wire::Issued;
use crate::transport::{SWARM_PORT, dial_local_addr};

/// A join that has no certificate yet.
pub(super) struct Joining {
    reply: Option<Reply<NodeId>>,
    until: Timestamp,
    work: AbortHandle,
}

/// A join that got its certificate.
pub(crate) struct Entered {
    issued: Issued,
    key: SecretString,
    listen: SocketAddr,
    advertise: SocketAddr,
    data_path: Option<IpAddr>,
    asked: String,
}

impl Joining {
    pub fn deadline(&self) -> Option<Timestamp> {
        self.reply.is_some().then_some(self.until)
    }

    pub fn tick(&mut self, now: Timestamp) {
        if now >= self.until
            && let Some(reply) = self.reply.take()
        {
            let _ = reply.send(Err(messages::join_goes_on()));
        }
    }

    pub fn give_up(self) {
        self.work.abort();
        if let Some(reply) = self.reply {
            let message = "the node was told to leave the swarm while it was joining";
            let _ = reply.send(Err(NodeError::new(NodeErrorKind::Unavailable, message)));
        }
    }
}

impl Core {
    /// `docker swarm init`.
    pub(super) fn init(&mut self, options: InitOptions, reply: Reply<NodeId>) {
        if self.joining.is_some() || (self.member.is_some() && !options.force_new_cluster) {
            return drop(reply.send(Err(messages::already_in_swarm())));
        }
        match self.make_swarm(options) {
            Ok(mut member) => {
                member.set_entering(reply, now().plus(JOIN_PATIENCE));
                self.member = Some(Box::new(member));
            }
            Err(error) => {
                let _ = remove_state(&self.context.dir);
                let _ = reply.send(Err(error));
            }
        }
    }

    fn make_swarm(&mut self, options: InitOptions) -> Result<Member, NodeError> {
        let internal = |error: &dyn std::fmt::Display| NodeError::new(NodeErrorKind::Internal, error.to_string());
        if options.force_new_cluster {
            let message = "--force-new-cluster is not supported yet";
            return Err(NodeError::new(NodeErrorKind::Unimplemented, message));
        }
        if options.auto_lock || options.spec.auto_lock_managers {
            return Err(messages::no_autolock());
        }
        address_pools::check(&options.default_addr_pool, options.subnet_size).map_err(|error| internal(&error))?;
        address_pools::check_data_path_port(options.data_path_port).map_err(|error| internal(&error))?;
        let mut listen = listen_addr(&options.listen_addr, self.context.options.listen_addr)?;
        self.default_port(&mut listen, &options.listen_addr);
        let advertise = match advertise_addr(&options.advertise_addr, listen)? {
            Some(addr) => addr,
            None => match self.context.options.advertise_addr {
                Some(ip) => SocketAddr::new(ip, listen.port()),
                None => SocketAddr::new(system_addr()?, listen.port()),
            },
        };
        let data_path = data_path_addr(&options.data_path_addr)?;
        check_port_free(listen)?;

        let now = now();
        let (cluster, node) = (random_id(), random_id());
        let root = Root::create(now).map_err(|error| internal(&error))?;
        let new = NewKey::create().map_err(|error| internal(&error))?;
        let (request, public_key_digest) = read_request(&new.request).map_err(|error| internal(&error))?;
        let expiry = options.spec.node_cert_expiry;
        let role = NodeRole::Manager;
        let certificate = issue_node_certificate(&root, request, cluster, node, role, now, expiry)
            .map_err(|error| internal(&error))?;
        let certified = NodeCertificate { role, not_after: now.plus(expiry), public_key_digest };
        let node_object = new_node(node, role, options.availability, certified);
        let cluster = new_cluster(cluster, &options, &root)?;

        let own = ManagerPeer { node_id: node, addr: advertise.to_string() };
        let secrets = (certificate, new.key, root.certificate);
        let mut identity =
            Identity::new(node, secrets, (listen, advertise), vec![own]).map_err(|error| internal(&error))?;
        let raft_id = seed().max(1);
        identity.raft_id = Some(raft_id);
        identity.data_path = data_path;
        identity.raft.clone_from(&options.spec.raft);
        let config = ManagerConfig { raft_id, node_id: node, raft: options.spec.raft.clone(), seed: seed() };
        let state = Manager::bootstrap_state(now, &config, advertise.to_string(), cluster, node_object)
            .map_err(|error| internal(&error))?;
        let context = self.new_stay()?;
        Managing::write_first_state(&context, &identity, &state).map_err(|error| internal(&error))?;
        // The identity comes last: with it the node is in a swarm.
        identity.store(&context.dir).map_err(|error| internal(&error))?;
        info!("made a swarm with node {node} as its first manager");
        Member::restore(context, identity).map_err(|error| internal(&error))
    }

    /// `docker swarm join`.
    pub(super) fn join(&mut self, options: JoinOptions, reply: Reply<NodeId>) {
        if self.joining.is_some() || self.member.is_some() {
            return drop(reply.send(Err(messages::already_in_swarm())));
        }
        let prepared = (|| {
            let token = JoinToken::parse(&options.token.0)
                .map_err(|error| NodeError::new(NodeErrorKind::InvalidArgument, error.to_string()))?;
            let remotes = options.remote_addrs.iter().map(|addr| remote_addr(addr)).collect::<Result<Vec<_>, _>>()?;
            if remotes.is_empty() {
                let message = "at least 1 RemoteAddr is required to join";
                return Err(NodeError::new(NodeErrorKind::InvalidArgument, message));
            }
            let mut listen = listen_addr(&options.listen_addr, self.context.options.listen_addr)?;
            self.default_port(&mut listen, &options.listen_addr);
            let advertise = advertise_addr(&options.advertise_addr, listen)?;
            let default = self.context.options.advertise_addr.map(|ip| SocketAddr::new(ip, listen.port()));
            let data_path = data_path_addr(&options.data_path_addr)?;
            Ok((token.digest, remotes, (listen, advertise.or(default), data_path), self.new_stay()?))
        })();
        let (digest, remotes, addresses, context) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let work = tokio::spawn(async move {
            let mut last = None;
            for asked in remotes {
                match enter(&options, &digest, asked, addresses).await {
                    Ok(entered) => {
                        let _ = context.mailbox.send((context.epoch, Mail::Entered(Box::new(Ok(entered))))).await;
                        return;
                    }
                    Err(error) => last = Some(error),
                }
            }
            if let Some(error) = last {
                let _ = context.mailbox.send((context.epoch, Mail::Entered(Box::new(Err(error))))).await;
            }
        });
        let until = now().plus(JOIN_PATIENCE);
        self.joining = Some(Joining { reply: Some(reply), until, work: work.abort_handle() });
    }

    /// The certificate is there, or refused.
    pub(super) fn entered(&mut self, result: Result<Entered, NodeError>) {
        let Some(joining) = self.joining.take() else { return };
        let member = result.and_then(|entered| self.become_member(entered));
        match (member, joining.reply) {
            (Ok(mut member), reply) => {
                if let Some(reply) = reply {
                    member.set_entering(reply, joining.until);
                }
                self.member = Some(Box::new(member));
            }
            (Err(error), reply) => {
                tracing::warn!("joining a swarm: {error}");
                let _ = remove_state(&self.context.dir);
                if let Some(reply) = reply {
                    let _ = reply.send(Err(error));
                }
            }
        }
    }

    fn become_member(&mut self, entered: Entered) -> Result<Member, NodeError> {
        let internal = |error: &dyn std::fmt::Display| NodeError::new(NodeErrorKind::Internal, error.to_string());
        let Entered { issued, key, listen, advertise, data_path, asked } = entered;
        info!("joined a swarm as node {}, a {}", issued.node, super::managing::role_text(issued.role));
        let mut managers = issued.managers;
        if managers.is_empty() {
            managers.push(ManagerPeer { node_id: random_id(), addr: asked });
        }
        let secrets = (issued.certificate, key, issued.root);
        let mut identity =
            Identity::new(issued.node, secrets, (listen, advertise), managers).map_err(|error| internal(&error))?;
        identity.data_path = data_path;
        identity.store(&self.context.dir).map_err(|error| internal(&error))?;
        Member::restore(self.context.clone(), identity).map_err(|error| internal(&error))
    }

    /// A clean folder, and a context whose mail is told from that of earlier stays.
    fn new_stay(&mut self) -> Result<Context, NodeError> {
        let failed = |error: crate::storage::StorageError| NodeError::new(NodeErrorKind::Internal, error.to_string());
        remove_state(&self.context.dir).map_err(failed)?;
        create_private_dir(&self.context.dir).map_err(failed)?;
        self.context.epoch += 1;
        Ok(self.context.clone())
    }

    /// The port that this node was started with, unless the user named one.
    fn default_port(&self, listen: &mut SocketAddr, text: &str) {
        let port = self.context.options.port;
        if port != SWARM_PORT && !text.ends_with(&format!(":{SWARM_PORT}")) && listen.port() == SWARM_PORT {
            listen.set_port(port);
        }
    }
}

async fn enter(
    options: &JoinOptions,
    digest: &str,
    asked: String,
    (listen, advertise, data_path): (SocketAddr, Option<SocketAddr>, Option<IpAddr>),
) -> Result<Entered, NodeError> {
    let advertise = match advertise {
        Some(addr) => addr,
        None => {
            let local = dial_local_addr(&asked).await.map_err(|error| super::requests::unreachable(&error))?;
            SocketAddr::new(local.ip(), listen.port())
        }
    };
    let new = NewKey::create().map_err(|error| NodeError::new(NodeErrorKind::Internal, error.to_string()))?;
    let issued = certificate_by_token(&asked, &options.token, digest, new.request, options.availability).await?;
    Ok(Entered { issued, key: new.key, listen, advertise, data_path, asked })
}

fn new_cluster(id: ClusterId, options: &InitOptions, root: &Root) -> Result<Cluster, NodeError> {
    let internal = |error: crate::ca::CaError| NodeError::new(NodeErrorKind::Internal, error.to_string());
    let sha256 = root_digest(&root.certificate).map_err(internal)?;
    let digest = token_digest(sha256);
    let fresh = fresh_secrets()?;
    let join_tokens = JoinTokens {
        worker: format_token(&digest, &fresh.worker_token),
        manager: format_token(&digest, &fresh.manager_token),
    };
    let hex: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    let default_address_pool = match &options.default_addr_pool[..] {
        [] => vec!["10.0.0.0/8".to_owned()],
        pools => pools.to_vec(),
    };
    Ok(Cluster {
        id,
        meta: Meta::default(),
        spec: options.spec.clone(),
        root_ca: RootCa {
            key: root.key.clone(),
            certificate: root.certificate.clone(),
            digest: format!("sha256:{hex}"),
            join_tokens,
        },
        network_keys: first_network_keys(draw).ok_or_else(no_random)?,
        unlock_key: None,
        default_address_pool,
        subnet_size: if options.subnet_size == 0 { 24 } else { options.subnet_size },
        data_path_port: if options.data_path_port == 0 { 4789 } else { options.data_path_port },
        revoked_nodes: Vec::new(),
    })
}

/// Random bytes from the system's cryptographic source; `None` when it gives none.
pub(super) fn draw<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).is_ok().then_some(bytes)
}

/// Secrets for tokens and keys, from the system's cryptographic source.
pub(super) fn fresh_secrets() -> Result<FreshSecrets, NodeError> {
    let unlock: [u8; 32] = draw().ok_or_else(no_random)?;
    Ok(FreshSecrets {
        worker_token: token_secret(draw().ok_or_else(no_random)?),
        manager_token: token_secret(draw().ok_or_else(no_random)?),
        unlock_key: SecretBytes(unlock.to_vec()),
    })
}

fn no_random() -> NodeError {
    NodeError::new(NodeErrorKind::Internal, "the system gives no random numbers")
}

/// Refuses to make a swarm on a port that is taken, before anything is made.
fn check_port_free(addr: SocketAddr) -> Result<(), NodeError> {
    match std::net::TcpListener::bind(addr) {
        Ok(_) => Ok(()),
        Err(error) => {
            let message = format!("failed to listen on remote API address: listen tcp {addr}: bind: {error}");
            Err(NodeError::new(NodeErrorKind::Internal, message))
        }
    }
}

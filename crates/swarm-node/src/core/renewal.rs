//! New certificates: before the old one ends, and when the node's role changes.

use std::sync::Arc;
use std::time::Duration;

use swarm_types::{IdSource, NodeRole, SecretString, Timestamp};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::member::Member;
use super::requests::{ask_any, check_credentials};
use super::{Mail, NodeError, NodeErrorKind, messages, seed};
use crate::ca::{CertificateFacts, NewKey};
use crate::transport::wire::{IssueRequest, Issued, Request};
use swarm_agent::Input;

/// The first wait after a failure; doubled each time up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// When the certificate is renewed.
#[derive(Debug)]
pub(super) struct Renewal {
    at: Timestamp,
    retry: Duration,
    running: bool,
}

/// A new certificate with its key.
pub(crate) struct Renewed {
    issued: Issued,
    key: SecretString,
}

impl Renewal {
    /// Somewhere between half and four fifths of the certificate's life, so that nodes that joined together do not
    /// renew together, and that there is time to try again.
    pub fn plan(facts: &CertificateFacts) -> Self {
        let life = facts.not_after.since(facts.not_before);
        let percent = 50 + IdSource::from_seed(seed()).below(31);
        let after = life / 100 * u32::try_from(percent).unwrap_or(50);
        Self { at: facts.not_before.plus(after), retry: FIRST_RETRY, running: false }
    }

    pub fn deadline(&self) -> Option<Timestamp> {
        (!self.running).then_some(self.at)
    }
}

impl Member {
    /// Asks for a new certificate, unless that is under way.
    pub fn renew(&mut self, now: Timestamp) {
        if self.renewal.running {
            return;
        }
        let new = match NewKey::create() {
            Ok(new) => new,
            Err(error) => {
                warn!("{error}");
                self.renewal.at = now.plus(LONGEST_RETRY);
                return;
            }
        };
        self.renewal.running = true;
        let key = new.key;
        let request = IssueRequest { request: new.request, token: None, availability: Default::default(), node: None };
        if self.managing.is_some() {
            let (reply, answer) = oneshot::channel();
            let own = self.credentials.borrow().facts.peer;
            self.issue(now, request, Some(own), 0, reply);
            self.context.spawn(async move {
                let issued = answer.await.unwrap_or_else(|_| Err(messages::not_a_manager()));
                Mail::Renewed(Box::new(issued.map(|issued| Renewed { issued, key })))
            });
            return;
        }
        let config = self.credentials.borrow().client.clone();
        let managers = self.identity.managers.clone();
        self.context.spawn(async move {
            let asked = ask_any(&managers, &config, || Request::Issue(Box::new(request.clone()))).await;
            Mail::Renewed(Box::new(asked.map(|issued| Renewed { issued, key })))
        });
    }

    /// Takes a new certificate into use; a new role follows from it.
    pub fn renewed(&mut self, now: Timestamp, result: Result<Renewed, NodeError>) {
        self.renewal.running = false;
        if let Err(error) = result.and_then(|renewed| self.take_certificate(renewed)) {
            warn!("the node's certificate could not be renewed: {error}");
            self.renewal.at = now.plus(self.renewal.retry);
            self.renewal.retry = (self.renewal.retry * 2).min(LONGEST_RETRY);
            return;
        }
        let role = self.role();
        match (role, self.managing.is_some()) {
            (NodeRole::Manager, false) => self.manage(),
            (NodeRole::Worker, _) => self.stop_managing(),
            _ => {}
        }
    }

    fn take_certificate(&mut self, renewed: Renewed) -> Result<(), NodeError> {
        let Renewed { issued, key } = renewed;
        let mut identity = self.identity.clone();
        identity.certificate = issued.certificate;
        identity.key = key;
        identity.root = issued.root;
        let internal = |message: String| NodeError::new(NodeErrorKind::Internal, message);
        let credentials = identity.credentials().map_err(|error| internal(error.to_string()))?;
        check_credentials(&credentials, identity.node)?;
        identity.store(&self.context.dir).map_err(|error| internal(error.to_string()))?;
        info!("new certificate, as a {}", super::managing::role_text(credentials.facts.peer.role));
        self.identity = identity;
        self.renewal = Renewal::plan(&credentials.facts);
        let mut description = self.context.options.runner.description();
        description.tls = credentials.tls_info.clone();
        self.credentials.send_replace(Arc::new(credentials));
        self.agent.handle(super::now(), Input::Description(Box::new(description)));
        Ok(())
    }
}

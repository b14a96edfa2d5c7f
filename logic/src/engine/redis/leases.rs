//! Gateways announce themselves to one logic node; the others hear of it here.

use std::sync::Arc;
use std::time::Duration;

use super::scripts::{Call, Script};
use super::{Away, Redis};

/// Gateways that nodes tell each other of.
const TOLD_MAX: usize = 1024;

impl Redis {
    /// Tells which gateways have announced themselves to this node and for how long they are to be believed (no time:
    /// they go), and hears of all.
    pub(crate) async fn share_leases(&self, mine: &[(Arc<str>, Duration)]) -> Result<Vec<String>, Away> {
        let mut call = Call::new();
        call.key(self.keys.of(0, "gateways")).number(TOLD_MAX);
        for (address, left) in mine {
            call.arg(address.as_bytes()).number(left.as_millis());
        }
        let asked = async {
            let (mut answer, mut heard) = (self.ask(0, Script::Share, &call).await?, Vec::new());
            while answer.len() > 0 {
                heard.push(answer.text()?);
            }
            Ok(heard)
        };
        Ok(self.within(asked).await?)
    }
}

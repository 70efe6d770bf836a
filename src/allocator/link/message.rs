//! What is sent to a server, in the forms that it may need.

use redis::{Cmd, Pipeline, RedisError, ServerErrorKind, Value, aio::MultiplexedConnection};

use crate::allocator::script::Call;

/// Something to send. A repeat of any of them does no harm.
pub(in crate::allocator) enum Message<'a> {
    Script(&'a Call),
    Command(&'a Cmd),
    /// Commands of which each may be served by itself.
    Pipeline(&'a Pipeline),
    /// As a pipeline, for reads with long answers: they go over a lane of their own, and hold up no other call.
    Bulk(&'a Pipeline),
    /// As a pipeline, for lists that callers ask for: over a lane of their own as well.
    List(&'a Pipeline),
}

impl Message<'_> {
    /// Sends it. With `asking`, to a server that a slot is just moving to: it serves only callers that say so before
    /// each command.
    pub(in crate::allocator) async fn send(
        &self,
        to: &mut MultiplexedConnection,
        asking: bool,
    ) -> Result<Value, RedisError> {
        match self {
            Self::Script(call) => match one(&call.evalsha(), to, asking).await {
                Err(e) if e.kind() == ServerErrorKind::NoScript.into() => one(&call.eval(), to, asking).await,
                result => result,
            },
            Self::Command(cmd) => one(cmd, to, asking).await,
            Self::Pipeline(pipeline) | Self::Bulk(pipeline) | Self::List(pipeline) if asking => {
                let mut all = Pipeline::new();
                for cmd in pipeline.cmd_iter() {
                    all.cmd("ASKING").ignore().add_command(cmd.clone());
                }
                all.query_async(to).await
            }
            Self::Pipeline(pipeline) | Self::Bulk(pipeline) | Self::List(pipeline) => pipeline.query_async(to).await,
        }
    }
}

async fn one(cmd: &Cmd, to: &mut MultiplexedConnection, asking: bool) -> Result<Value, RedisError> {
    if !asking {
        return to.send_packed_command(cmd).await?.extract_error();
    }
    let mut both = redis::pipe();
    both.cmd("ASKING").add_command(cmd.clone());
    let answer = to.send_packed_commands(&both, 1, 1).await?.pop().unwrap_or_default();
    answer.extract_error()
}

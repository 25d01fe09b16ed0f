using System.Threading.Channels;
using Dynamo.Vllm.Protocol.Zmtp;

namespace Dynamo.Vllm.Engine.Direct;

/// <summary>Messages on their way to the engine, in their order. Any thread gives them, one loop writes them.</summary>
internal sealed class EngineSender(ZmtpConnection connection)
{
    /// <summary>As of the mailbox to the interpreter: beyond it the engine does not read, and the next request is refused.</summary>
    private const int MessagesMax = 65_536;

    private const long BytesMax = 256L * 1024 * 1024;

    /// <summary>Unflushed bytes at which the writer stops gathering.</summary>
    private const int FlushBytes = 64 * 1024;

    /// <summary>From this length on a message goes out as it is, instead of through the pipe's buffer.</summary>
    private const int LargeBytes = 16 * 1024;

    private readonly Channel<EngineMessage> _queue = Channel.CreateUnbounded<EngineMessage>(
        // Bounded by the two counts below: aborts pass them, since there is at most one for each request that was sent.
        new UnboundedChannelOptions { SingleReader = true }
    );

    private long _bytes;
    private int _messages;
    private volatile bool _isComplete;

    /// <summary>Nothing is taken any more.</summary>
    public bool IsComplete => _isComplete;

    /// <returns>False if too much waits, or the engine is gone: the message is disposed of.</returns>
    public bool TrySend(EngineMessage message, bool isUrgent)
    {
        var length = message.Length;
        if (Interlocked.Add(ref _bytes, length) > BytesMax | Interlocked.Increment(ref _messages) > MessagesMax && !isUrgent)
        {
            Forget(message, length);
            return false;
        }

        if (_queue.Writer.TryWrite(message))
        {
            return true;
        }

        Forget(message, length);
        return false;
    }

    /// <summary>Until <see cref="Complete"/>, or the connection breaks.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        try
        {
            while (await _queue.Reader.WaitToReadAsync(cancellationToken).ConfigureAwait(false))
            {
                while (_queue.Reader.TryRead(out var message))
                {
                    await WriteAsync(message, cancellationToken).ConfigureAwait(false);
                }

                await connection.Output.FlushAsync(cancellationToken).ConfigureAwait(false);
            }
        }
        finally
        {
            Complete();
            while (_queue.Reader.TryRead(out var message))
            {
                Forget(message, message.Length);
            }
        }
    }

    public void Complete()
    {
        _isComplete = true;
        _queue.Writer.TryComplete();
    }

    private async ValueTask WriteAsync(EngineMessage message, CancellationToken cancellationToken)
    {
        var length = message.Length;
        try
        {
            if (length >= LargeBytes)
            {
                await connection.Output.FlushAsync(cancellationToken).ConfigureAwait(false);
                await connection.WriteThroughAsync(message.Complete(), cancellationToken).ConfigureAwait(false);
                return;
            }

            message.Complete().Span.CopyTo(connection.Output.GetSpan(length));
            connection.Output.Advance(length);
            if (connection.Output.UnflushedBytes >= FlushBytes)
            {
                await connection.Output.FlushAsync(cancellationToken).ConfigureAwait(false);
            }
        }
        finally
        {
            Forget(message, length);
        }
    }

    private void Forget(EngineMessage message, int length)
    {
        message.Dispose();
        Interlocked.Add(ref _bytes, -length);
        Interlocked.Decrement(ref _messages);
    }
}

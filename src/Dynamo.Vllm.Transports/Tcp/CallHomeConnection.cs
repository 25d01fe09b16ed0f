using System.Buffers;
using System.Net.Sockets;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Framing;

namespace Dynamo.Vllm.Transports.Tcp;

/// <summary>The socket on which one request is answered, and a second one if the first breaks early.</summary>
/// <remarks>
/// A caller whose connection breaks within the handshake does not know whose it was and waits for ever
/// (request-plane.md, 8). So while little was said it is kept, and a connection that breaks without a word from
/// the caller is opened once more and all is said again. A caller that knew the first one turns the second
/// away, since it expects that subject no more: nothing is heard twice. One writer; one listener beside it.
/// </remarks>
internal sealed class CallHomeConnection : IAsyncDisposable
{
    /// <summary>The handshake, the prologue, and enough items for a reset to arrive before they are exceeded.</summary>
    private const int OpeningBytesMax = 2048;

    private readonly Func<CancellationToken, Task<Stream?>> _redial;
    private readonly Stream _first;
    private readonly CancellationTokenSource _closing = new();
    private readonly Lock _lock = new(); // guards the fields below until _isOpen; from there on they are the writer's
    private readonly FrameBuffer _opening = new();
    private Stream _stream;
    private Task<bool>? _reopening;
    private bool _isReopening;
    private bool _isOpen; // too much was said to say it again

    /// <param name="stream">Connected; nothing was sent on it.</param>
    /// <param name="redial">Opens the second connection; null where the caller cannot be reached.</param>
    public CallHomeConnection(Stream stream, Func<CancellationToken, Task<Stream?>> redial)
    {
        _first = _stream = stream;
        _redial = redial;
    }

    /// <summary>Completes when the bytes were handed over; until then they must not change.</summary>
    /// <exception cref="IOException">The caller is gone.</exception>
    public ValueTask SendAsync(ReadOnlyMemory<byte> bytes) => _isOpen ? _stream.WriteAsync(bytes) : SendOpeningAsync(bytes);

    /// <summary>Hears the caller until the end of the connection.</summary>
    /// <param name="heard">What the caller wants.</param>
    /// <param name="isComplete">All was said: the caller's close is what follows, and only a reset is a loss.</param>
    public async Task ListenAsync(Action<CancellationCause> heard, Func<bool> isComplete)
    {
        Stream stream;
        bool isLost;
        do
        {
            stream = _stream;
            isLost = await ListenAsync(stream, heard, isComplete).ConfigureAwait(false);
        } while (isLost && await TryReopenAsync(stream).ConfigureAwait(false));
    }

    /// <summary>Ends sending and hearing. The buffers are given back by <see cref="DisposeAsync"/>.</summary>
    public async Task CloseAsync()
    {
        await _closing.CancelAsync().ConfigureAwait(false);
        await _stream.DisposeAsync().ConfigureAwait(false);
    }

    /// <summary>Only after listening has ended.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stream.DisposeAsync().ConfigureAwait(false); // perhaps another than the one that was closed
        _opening.Dispose();
        _closing.Dispose();
    }

    private async ValueTask SendOpeningAsync(ReadOnlyMemory<byte> bytes)
    {
        var (stream, reopening) = Keep(bytes.Span);
        if (reopening is not null)
        {
            await reopening.ConfigureAwait(false); // sends this, too; if it fails, the listener says that the caller is gone
            return;
        }

        try
        {
            await stream.WriteAsync(bytes).ConfigureAwait(false);
        }
        catch (Exception exception) when (IsBroken(exception))
        {
            if (!await TryReopenAsync(stream).ConfigureAwait(false))
            {
                throw;
            }
        }
    }

    /// <returns>Where to write; or, if it is being opened again, what writes it.</returns>
    private (Stream Stream, Task<bool>? Reopening) Keep(ReadOnlySpan<byte> bytes)
    {
        lock (_lock)
        {
            _isOpen = !_isReopening && _opening.Written.Length + bytes.Length > OpeningBytesMax;
            if (_isOpen)
            {
                _opening.Dispose(); // nobody looks at it any more, and a long answer should not hold it
            }
            else
            {
                _opening.Write(bytes);
            }

            return (_stream, _isReopening ? _reopening : null);
        }
    }

    /// <summary>False if it is too late, if it was done before, or if the caller cannot be reached.</summary>
    private Task<bool> TryReopenAsync(Stream broken)
    {
        lock (_lock)
        {
            if (broken != _first || (_reopening is null && (_isOpen || _closing.IsCancellationRequested)))
            {
                return Task.FromResult(false);
            }

            if (_reopening is null)
            {
                _isReopening = true;
                _reopening = ReopenAsync();
            }

            return _reopening;
        }
    }

    private async Task<bool> ReopenAsync()
    {
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding); // out of the lock
        var stream = await _redial(_closing.Token).ConfigureAwait(false);
        try
        {
            for (var sent = 0; stream is not null && Rest(sent, stream) is { Length: > 0 } rest; sent += rest.Length)
            {
                await stream.WriteAsync(rest, _closing.Token).ConfigureAwait(false);
            }
        }
        catch (Exception exception) when (IsBroken(exception))
        {
            await stream!.DisposeAsync().ConfigureAwait(false);
            stream = null;
        }

        if (stream is null)
        {
            lock (_lock)
            {
                _isReopening = false;
            }

            return false;
        }

        await _first.DisposeAsync().ConfigureAwait(false);
        return true;
    }

    /// <summary>A copy of what was not said again yet. When nothing is left the writer goes on with this stream.</summary>
    private byte[] Rest(int sent, Stream stream)
    {
        lock (_lock)
        {
            var rest = _opening.Written.Span[sent..].ToArray();
            if (rest.Length == 0)
            {
                _stream = stream;
                _isReopening = false;
            }

            return rest;
        }
    }

    /// <returns>True if the end is a loss.</returns>
    private async Task<bool> ListenAsync(Stream stream, Action<CancellationCause> heard, Func<bool> isComplete)
    {
        var prefix = new byte[TwoPartMessage.PrefixBytes];
        var hasSpoken = false;
        try
        {
            while (
                await stream.ReadAtLeastAsync(prefix, prefix.Length, throwOnEndOfStream: false, _closing.Token).ConfigureAwait(false)
                == prefix.Length
            )
            {
                hasSpoken = true;
                heard(await ReadControlAsync(stream, prefix).ConfigureAwait(false));
            }

            return !hasSpoken && !isComplete();
        }
        catch (Exception exception) when (IsBroken(exception))
        {
            return !hasSpoken;
        }
    }

    /// <summary>"stop" is a stop; "kill", and anything else, is a kill (request-plane.md, 2).</summary>
    private async Task<CancellationCause> ReadControlAsync(Stream stream, byte[] prefix)
    {
        var (headerBytes, bodyBytes) = TwoPartMessage.ReadLengths(prefix);
        if (headerBytes + bodyBytes > Limits.CallHomeControlBytesMax || headerBytes > Limits.CallHomeControlBytesMax)
        {
            throw new IOException(
                $"control frame of {headerBytes} + {bodyBytes} bytes is above the limit {Limits.CallHomeControlBytesMax}"
            );
        }

        var frame = new byte[(int)(headerBytes + bodyBytes)];
        await stream.ReadExactlyAsync(frame, _closing.Token).ConfigureAwait(false);
        return frame.AsSpan().SequenceEqual("\"stop\""u8) ? CancellationCause.Stop : CancellationCause.Kill;
    }

    /// <summary>Every way in which a socket of ours says that it has ended,
    /// our own closing included. Anything else is a bug and goes up.</summary>
    private static bool IsBroken(Exception exception) =>
        exception is IOException or SocketException or ObjectDisposedException or OperationCanceledException;
}

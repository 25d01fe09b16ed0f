using System.Buffers;
using System.Threading.Channels;
using Dynamo.Vllm.Python.Locating;

namespace Dynamo.Vllm.Python.Interpreter;

/// <summary>CPython as a guest: one thread of its own, a mailbox into it, batches out of it.</summary>
/// <remarks>
/// One per process, since CPython can be started once. Members are
/// thread-safe; none of them takes the interpreter lock or waits for Python.
/// </remarks>
public sealed class PythonHost : IGuestPort, IDisposable
{
    private static int _started;

    private readonly PythonInstallation _installation;
    private readonly GuestProgram _program;
    private readonly Mailbox _mailbox;
    private readonly PythonHostOptions _options;

    // The Python thread must not run our continuations.
    private readonly TaskCompletionSource<string?> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);

    // Unbounded on purpose: a batch holds what one engine step produced, the reader only splits it, and dropping one would lose tokens.
    // The per-request queues behind the reader are where the bound is.
    private readonly Channel<GuestBatch> _batches = Channel.CreateUnbounded<GuestBatch>(
        new UnboundedChannelOptions { SingleReader = true, SingleWriter = true }
    );

    public PythonHost(PythonInstallation installation, GuestProgram program, PythonHostOptions? options = null)
    {
        _installation = installation;
        _program = program;
        _options = options ?? new PythonHostOptions();
        _mailbox = new Mailbox(_options.MailboxCountMax, _options.MailboxBytesMax);
    }

    /// <summary>Batches in the order in which Python posted them; completes when the guest has ended.</summary>
    public ChannelReader<GuestBatch> Batches => _batches.Reader;

    /// <summary>Ends with null when the guest returned, else with its traceback.</summary>
    public Task<string?> Completion => _completion.Task;

    int IGuestPort.EventFd => _mailbox.EventFd;

    /// <summary>Starts the interpreter. Its life ends with the process.</summary>
    public void Start()
    {
        if (Interlocked.Exchange(ref _started, 1) != 0)
        {
            throw new InvalidOperationException("CPython can be started once per process");
        }

        // Background: a thread inside Python must not keep a process alive whose host has ended.
        new Thread(Run, _options.StackBytes) { Name = "python", IsBackground = true }.Start();
    }

    /// <summary>Queues a message; false if the mailbox is full or the guest has ended.</summary>
    public bool TryPost(ReadOnlySpan<byte> header, ReadOnlySpan<byte> body, bool isUrgent = false) =>
        _mailbox.TryPost(header, body, isUrgent);

    int IGuestPort.Take(IBufferWriter<byte> output) => _mailbox.Take(output);

    void IGuestPort.Post(ReadOnlySpan<byte> batch) => _batches.Writer.TryWrite(new GuestBatch(batch));

    public void Dispose() => _mailbox.Dispose();

    private void Run()
    {
        string? failure;
        try
        {
            failure =
                _installation.Minor < EmbeddedPython.MinorMin
                    ? Native.NativeBinding.Run(_installation, _program, this)
                    : EmbeddedPython.Run(_installation, _program, this);
        }
        catch (Exception exception)
        {
            // Boundary mapping (style E3): nothing may escape a thread, and the owner watches Completion.
            failure = exception.ToString();
        }

        _mailbox.Dispose();
        _batches.Writer.TryComplete();
        _completion.TrySetResult(failure);
    }
}

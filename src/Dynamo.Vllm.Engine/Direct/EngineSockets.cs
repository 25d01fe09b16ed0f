using System.Net.Sockets;
using System.Text;
using Dynamo.Vllm.Protocol.Zmtp;

namespace Dynamo.Vllm.Engine.Direct;

/// <summary>The two sockets that EngineCore connects to as it does to those of vLLM's own front end: requests down, outputs up.</summary>
/// <remarks>
/// They lie in a folder that only this user may enter, and are gone as soon as the engine has connected: it does so once in its life.
/// docs/protocol/engine-core.md, 1.
/// </remarks>
internal sealed class EngineSockets : IDisposable
{
    /// <summary>Of <c>sockaddr_un</c>, with the closing zero.</summary>
    private const int PathBytesMax = 107;

    private readonly DirectoryInfo _folder;
    private readonly Socket _input;
    private readonly Socket _output;

    private EngineSockets(DirectoryInfo folder)
    {
        _folder = folder;
        _input = Bind(InputPath);
        _output = Bind(OutputPath);
    }

    /// <summary>In ZeroMQ's form.</summary>
    public string InputAddress => "ipc://" + InputPath;

    public string OutputAddress => "ipc://" + OutputPath;

    private string InputPath => Path.Combine(_folder.FullName, "in");

    private string OutputPath => Path.Combine(_folder.FullName, "out");

    /// <param name="place">A folder of this user alone; null: a new one where temporary files go.</param>
    /// <exception cref="IOException">There is no room for them; the message says where.</exception>
    public static EngineSockets Listen(string? place)
    {
        DirectoryInfo? folder = null;
        try
        {
            folder = place is null
                ? Directory.CreateTempSubdirectory("vllm-drive-") // for this user alone
                : Directory.CreateDirectory(Path.Combine(place, "drive"));
            var longest = Path.Combine(folder.FullName, "out");
            var bytes = Encoding.UTF8.GetByteCount(longest);
            return bytes <= PathBytesMax
                ? new EngineSockets(folder)
                : throw new IOException($"the path {longest} has {bytes} bytes, a socket's has {PathBytesMax} at most");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or SocketException)
        {
            if (folder is not null)
            {
                Remove(folder);
            }

            throw new IOException($"no sockets in {folder?.FullName ?? place ?? Path.GetTempPath()}: {exception.Message}", exception);
        }
    }

    /// <summary>Waits for the engine; the sockets cannot be reached any more afterwards.</summary>
    public async Task<(ZmtpConnection Input, ZmtpConnection Output)> AcceptAsync(TimeProvider time, CancellationToken cancellationToken)
    {
        using var owner = this;
        var input = await AcceptAsync(_input, "ROUTER"u8.ToArray(), "DEALER", time, cancellationToken).ConfigureAwait(false);
        try
        {
            var output = await AcceptAsync(_output, "PULL"u8.ToArray(), "PUSH", time, cancellationToken).ConfigureAwait(false);
            return (input, output);
        }
        catch
        {
            await input.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    public void Dispose()
    {
        _input.Dispose();
        _output.Dispose();
        Remove(_folder);
    }

    private static Socket Bind(string path)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(path));
        socket.Listen(1);
        return socket;
    }

    private static async Task<ZmtpConnection> AcceptAsync(
        Socket listener,
        byte[] ours,
        string theirs,
        TimeProvider time,
        CancellationToken cancellationToken
    )
    {
        var socket = await listener.AcceptAsync(cancellationToken).ConfigureAwait(false);
        return await ZmtpConnection
            .OpenAsync(
                new NetworkStream(socket, ownsSocket: true),
                ours,
                type => Encoding.ASCII.GetString(type) == theirs,
                time,
                cancellationToken
            )
            .ConfigureAwait(false);
    }

    private static void Remove(DirectoryInfo folder)
    {
        try
        {
            folder.Delete(recursive: true);
        }
        catch (IOException)
        {
            // Best-effort cleanup (style E3): it is empty but for two names, or gone already.
        }
    }
}

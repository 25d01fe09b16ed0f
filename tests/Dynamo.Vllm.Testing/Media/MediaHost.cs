using System.Collections.Concurrent;
using System.Globalization;
using System.IO.Compression;
using System.Net;

namespace Dynamo.Vllm.Testing.Media;

/// <summary>A host of media on loopback that serves, and misbehaves on request.</summary>
/// <remarks>
/// <c>/files/name</c>; <c>/status/503</c>; <c>/redirect/3/name</c>: so many redirects before the file; <c>/to?url</c>: one to there;
/// <c>/endless</c>: as much as is taken; <c>/gzip/bytes</c>: so many zeros, compressed; <c>/never</c>: a byte now and then, for ever.
/// </remarks>
public sealed class MediaHost : IAsyncDisposable
{
    private readonly HttpListener _listener = new();
    private readonly ConcurrentDictionary<string, byte[]> _files = new();
    private readonly ConcurrentDictionary<string, int> _asked = new();
    private readonly CancellationTokenSource _closing = new();
    private readonly SemaphoreSlim _left = new(0);
    private readonly SemaphoreSlim _neverAsked = new(0);
    private readonly Task _serving;

    public MediaHost()
    {
        Port = FreePorts.Next();
        _listener.Prefixes.Add($"http://127.0.0.1:{Port.ToString(CultureInfo.InvariantCulture)}/");
        _listener.Start();
        _serving = Task.Run(ServeAsync);
    }

    public int Port { get; }

    /// <summary>Headers of the last request.</summary>
    public IReadOnlyDictionary<string, string> Headers { get; private set; } = new Dictionary<string, string>();

    public string Url(string path) => $"http://127.0.0.1:{Port.ToString(CultureInfo.InvariantCulture)}/{path}";

    public void Add(string name, byte[] content) => _files[name] = content;

    /// <summary>How often a path was asked for.</summary>
    public int Asked(string path) => _asked.GetValueOrDefault("/" + path);

    /// <summary>Somebody has begun to wait at <c>/never</c>.</summary>
    public Task NeverAskedAsync(TimeSpan limit) => WaitAsync(_neverAsked, "nobody asked", limit);

    /// <summary>Somebody who waited at <c>/never</c> has gone.</summary>
    public Task LeftAsync(TimeSpan limit) => WaitAsync(_left, "nobody left", limit);

    public async ValueTask DisposeAsync()
    {
        await _closing.CancelAsync();
        _listener.Close();
        await _serving;
        _closing.Dispose();
        _left.Dispose();
        _neverAsked.Dispose();
    }

    private static async Task WaitAsync(SemaphoreSlim happened, string problem, TimeSpan limit)
    {
        if (!await happened.WaitAsync(limit))
        {
            throw new TimeoutException($"{problem} within {limit}");
        }
    }

    private async Task ServeAsync()
    {
        while (!_closing.IsCancellationRequested)
        {
            HttpListenerContext context;
            try
            {
                context = await _listener.GetContextAsync();
            }
            catch (Exception exception) when (exception is HttpListenerException or ObjectDisposedException)
            {
                return; // closed
            }

            _ = Task.Run(() => AnswerAsync(context));
        }
    }

    private async Task AnswerAsync(HttpListenerContext context)
    {
        var path = context.Request.Url!.AbsolutePath;
        _asked.AddOrUpdate(path, 1, (_, count) => count + 1);
        Headers = context.Request.Headers.AllKeys.ToDictionary(key => key!, key => context.Request.Headers[key!]!);
        try
        {
            var parts = path.Trim('/').Split('/');
            await AnswerAsync(parts, context);
            context.Response.Close();
        }
        catch (Exception exception) when (exception is HttpListenerException or IOException or ObjectDisposedException)
        {
            // The caller has gone.
        }
        catch (OperationCanceledException)
        {
            context.Response.Abort();
        }
    }

    private async Task AnswerAsync(string[] parts, HttpListenerContext context)
    {
        var response = context.Response;
        switch (parts[0])
        {
            case "files" when _files.TryGetValue(parts[1], out var content):
                response.ContentLength64 = content.Length;
                await response.OutputStream.WriteAsync(content);
                break;
            case "status":
                response.StatusCode = int.Parse(parts[1], CultureInfo.InvariantCulture);
                break;
            case "redirect":
                var left = int.Parse(parts[1], CultureInfo.InvariantCulture) - 1;
                response.StatusCode = 302;
                response.RedirectLocation = left > 0 ? $"/redirect/{left}/{parts[2]}" : $"/files/{parts[2]}";
                break;
            case "to":
                response.StatusCode = 307;
                response.RedirectLocation = Uri.UnescapeDataString(context.Request.Url!.Query[1..]);
                break;
            case "endless":
                response.SendChunked = true;
                while (true)
                {
                    await response.OutputStream.WriteAsync(new byte[64 * 1024], _closing.Token);
                }

            case "gzip":
                response.Headers["Content-Encoding"] = "gzip";
                await using (var gzip = new GZipStream(response.OutputStream, CompressionLevel.Fastest, leaveOpen: true))
                {
                    await gzip.WriteAsync(new byte[int.Parse(parts[1], CultureInfo.InvariantCulture)]);
                }

                break;
            case "never":
                await DribbleAsync(response);
                break;
            default:
                response.StatusCode = 404;
                break;
        }
    }

    private async Task DribbleAsync(HttpListenerResponse response)
    {
        response.SendChunked = true;
        try
        {
            await response.OutputStream.WriteAsync(new byte[1], _closing.Token);
            _neverAsked.Release();
            while (true)
            {
                await Task.Delay(50, _closing.Token);
                await response.OutputStream.WriteAsync(new byte[1], _closing.Token);
            }
        }
        catch (Exception exception) when (exception is HttpListenerException or IOException or ObjectDisposedException)
        {
            _left.Release();
        }
    }
}

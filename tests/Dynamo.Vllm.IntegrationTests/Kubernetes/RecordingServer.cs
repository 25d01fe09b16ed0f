using System.Net;
using System.Text.Json.Nodes;
using System.Threading.Channels;

namespace Dynamo.Vllm.IntegrationTests.Kubernetes;

using Dynamo.Vllm.Testing;

/// <summary>An API server that keeps each request and answers as told.</summary>
internal sealed class RecordingServer : IDisposable
{
    private readonly HttpListener _listener = new();
    private readonly Channel<JsonObject> _requests = Channel.CreateUnbounded<JsonObject>(); // as many as one test makes

    public RecordingServer()
    {
        Url = $"http://127.0.0.1:{FreePorts.Next()}/";
        _listener.Prefixes.Add(Url);
        _listener.Start();
        _ = ServeAsync();
    }

    public string Url { get; }

    /// <summary>Status of the answers to come; what is left out is 200.</summary>
    public Queue<int> Statuses { get; } = new();

    public ChannelReader<JsonObject> Requests => _requests.Reader;

    public void Dispose() => _listener.Close();

    private async Task ServeAsync()
    {
        try
        {
            while (true)
            {
                var context = await _listener.GetContextAsync();
                var request = context.Request;
                using var reader = new StreamReader(request.InputStream);
                var body = await reader.ReadToEndAsync();
                var query = new JsonObject();
                foreach (var name in request.QueryString.AllKeys)
                {
                    query[name!] = request.QueryString[name];
                }

                _requests.Writer.TryWrite(
                    new JsonObject
                    {
                        ["method"] = request.HttpMethod,
                        ["path"] = request.Url!.AbsolutePath,
                        ["query"] = query,
                        ["content_type"] = request.ContentType,
                        ["accept"] = request.Headers["Accept"],
                        ["body"] = body.Length == 0 ? null : JsonNode.Parse(body),
                    }
                );
                context.Response.StatusCode = Statuses.TryDequeue(out var status) ? status : 200;
                context.Response.ContentType = "application/json";
                context.Response.Close("{}"u8.ToArray(), willBlock: false);
            }
        }
        catch (Exception exception) when (exception is HttpListenerException or ObjectDisposedException)
        {
            // Closed.
        }
    }
}

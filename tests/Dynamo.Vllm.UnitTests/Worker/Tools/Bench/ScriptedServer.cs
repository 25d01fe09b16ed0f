using System.Collections.Concurrent;
using System.Net;
using System.Text;

namespace Dynamo.Vllm.UnitTests.Worker.Tools.Bench;

/// <summary>A server of the OpenAI API that gives the answers of the test, in turn, the last one again and again.</summary>
internal sealed class ScriptedServer : HttpMessageHandler
{
    private readonly (HttpStatusCode Status, string Body)[] _answers;
    private readonly string? _models;
    private int _next;

    /// <param name="models">Answer of <c>/v1/models</c>; null: nobody is there.</param>
    /// <param name="answers">Of requests.</param>
    public ScriptedServer(string? models, params (HttpStatusCode Status, string Body)[] answers)
    {
        _models = models;
        _answers = answers;
    }

    public ConcurrentQueue<(string Id, string Authorization, string Body)> Requests { get; } = [];

    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        if (request.Method == HttpMethod.Get)
        {
            return _models is null
                ? throw new HttpRequestException("Connection refused (127.0.0.1:8000)")
                : new HttpResponseMessage { Content = new StringContent(_models) };
        }

        var body = await request.Content!.ReadAsStringAsync(cancellationToken);
        Requests.Enqueue((request.Headers.GetValues("x-request-id").Single(), request.Headers.Authorization?.ToString() ?? "", body));
        var answer = _answers[Math.Min(Interlocked.Increment(ref _next), _answers.Length) - 1];
        return new HttpResponseMessage(answer.Status) { Content = new ByteArrayContent(Encoding.UTF8.GetBytes(answer.Body)) };
    }
}

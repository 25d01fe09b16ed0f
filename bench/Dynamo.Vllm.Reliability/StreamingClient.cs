using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.Reliability;

/// <summary>Asks the frontend for streamed answers and judges what comes.</summary>
internal sealed class StreamingClient(Frontend frontend, int tokens)
{
    public const int Prompts = 16;

    /// <summary>After so long without a byte a person has left.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly Dictionary<int, string> _expected = [];

    /// <summary>Learns the right answers, one request at a time on a healthy fleet.</summary>
    public async Task LearnAsync()
    {
        for (var prompt = 0; prompt < Prompts; prompt++)
        {
            var (outcome, text) = await AskAsync(prompt);
            _expected[prompt] =
                outcome is ClientOutcome.Different
                    ? text
                    : throw new InvalidOperationException($"the healthy fleet answered with {outcome}: {text}");
        }
    }

    /// <summary>One request, to its end.</summary>
    public async Task<(ClientOutcome Outcome, string Text)> AskAsync(int prompt)
    {
        var text = new StringBuilder();
        using var patience = new CancellationTokenSource(Patience);
        try
        {
            using var response = await frontend.PostAsync("/v1/completions", Body(prompt), cancellationToken: patience.Token);
            if (response.StatusCode != HttpStatusCode.OK)
            {
                var error = await response.Content.ReadAsStringAsync(patience.Token);
                return (
                    (int)response.StatusCode >= 500 && error.Contains("message", StringComparison.Ordinal)
                        ? ClientOutcome.TypedError
                        : ClientOutcome.Broken,
                    error
                );
            }

            return (await ReadAsync(response, text, patience), text.ToString());
        }
        catch (OperationCanceledException)
        {
            return (ClientOutcome.Hung, text.ToString());
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException)
        {
            return (ClientOutcome.Broken, exception.Message);
        }
    }

    /// <summary>As <see cref="AskAsync"/>, with the right answer recognised.</summary>
    public async Task<(ClientOutcome Outcome, string Text)> TryAsync(int prompt)
    {
        var (outcome, text) = await AskAsync(prompt);
        return (outcome == ClientOutcome.Different && text == _expected[prompt] ? ClientOutcome.Correct : outcome, text);
    }

    private async Task<ClientOutcome> ReadAsync(HttpResponseMessage response, StringBuilder text, CancellationTokenSource patience)
    {
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(patience.Token));
        var generated = 0;
        while (await reader.ReadLineAsync(patience.Token) is { } line)
        {
            patience.CancelAfter(Patience);
            if (line == "data: [DONE]")
            {
                return generated == tokens ? ClientOutcome.Different : ClientOutcome.Broken;
            }

            if (!line.StartsWith("data: {", StringComparison.Ordinal))
            {
                continue;
            }

            var item = JsonNode.Parse(line[6..])!;
            if (item["error"] is not null)
            {
                text.Clear().Append(item["error"]!.ToJsonString());
                return ClientOutcome.TypedError;
            }

            text.Append((string?)item["choices"]?.AsArray().FirstOrDefault()?["text"]);
            generated = (int?)item["usage"]?["completion_tokens"] ?? generated;
        }

        return ClientOutcome.Broken;
    }

    private JsonObject Body(int prompt) =>
        new()
        {
            ["model"] = "tiny",
            ["prompt"] = $"tell me about number {prompt}",
            ["max_tokens"] = tokens,
            ["min_tokens"] = tokens,
            ["temperature"] = 0,
            ["ignore_eos"] = true,
            ["stream"] = true,
            ["stream_options"] = new JsonObject { ["include_usage"] = true },
        };
}

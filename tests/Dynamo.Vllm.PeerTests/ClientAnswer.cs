using System.Net;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.PeerTests;

/// <summary>What a client that asked for a stream got, to its end.</summary>
/// <param name="Status">Default if there was no answer at all.</param>
/// <param name="Text">Body.</param>
/// <param name="Problem">Why there was no answer, or not all of it.</param>
internal sealed record ClientAnswer(HttpStatusCode Status, string Text, string? Problem)
{
    private bool IsDone => Text.Contains("data: [DONE]", StringComparison.Ordinal);

    private bool HasErrorEvent => Text.Contains("data: {\"error\":", StringComparison.Ordinal);

    /// <summary>The whole stream.</summary>
    public bool IsSuccess => Problem is null && Status == HttpStatusCode.OK && IsDone && !HasErrorEvent;

    /// <summary>The frontend's answer, without a body, while not one worker of any role is registered.</summary>
    public bool IsModelUnknown => Problem is null && Status == HttpStatusCode.NotFound;

    /// <summary>An error that says what it is: a status with a message, or an error event and the end of the stream.</summary>
    public bool IsCleanError =>
        Problem is null
        && !IsModelUnknown
        && (Status == HttpStatusCode.OK ? HasErrorEvent && IsDone : (int)Status >= 500 && JsonNode.Parse(Text)?["message"] is not null);
}

using System.Text.Json;

namespace Dynamo.Vllm.Worker.GrpcRequests;

/// <summary>What stopped a choice, in the engine's words: one of the texts or of the tokens that were to stop it.</summary>
/// <param name="Text">Null for a token.</param>
/// <param name="TokenId">0 for a text.</param>
internal readonly record struct StopReason(string? Text, uint TokenId)
{
    /// <returns>Null where the model itself ended the choice.</returns>
    public static StopReason? Read(ReadOnlyMemory<byte>? json)
    {
        if (json is not { } text)
        {
            return null;
        }

        using var document = JsonDocument.Parse(text);
        var reason = document.RootElement;
        return reason.ValueKind == JsonValueKind.String ? new StopReason(reason.GetString(), 0) : new StopReason(null, reason.GetUInt32());
    }
}

using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>Reads <c>stop_conditions</c> (llm.md, 2.1).</summary>
internal static class StopConditionsParser
{
    public static void Read(ref MessagePackReader reader, StopConditions stop)
    {
        for (var left = RequestValues.MapHeader(ref reader, "stop_conditions"); left > 0; left--)
        {
            var key = reader.ReadStringBytes();
            if (reader.TryReadNil())
            {
                continue;
            }

            switch (key)
            {
                case var _ when key.SequenceEqual("max_tokens"u8):
                    stop.MaxTokens = RequestValues.Int32(ref reader, "stop_conditions.max_tokens");
                    break;
                case var _ when key.SequenceEqual("min_tokens"u8):
                    stop.MinTokens = RequestValues.Int32(ref reader, "stop_conditions.min_tokens");
                    break;
                case var _ when key.SequenceEqual("ignore_eos"u8):
                    stop.IgnoreEos = RequestValues.Boolean(ref reader, "stop_conditions.ignore_eos");
                    break;
                case var _ when key.SequenceEqual("max_thinking_tokens"u8):
                    stop.MaxThinkingTokens = RequestValues.Int32(ref reader, "stop_conditions.max_thinking_tokens");
                    break;
                case var _ when key.SequenceEqual("stop_token_ids"u8):
                    stop.StopTokenIds = RequestValues.TokenIds(ref reader, "stop_conditions.stop_token_ids");
                    break;
                case var _ when key.SequenceEqual("stop_token_ids_hidden"u8):
                    stop.StopTokenIdsHidden = RequestValues.TokenIds(ref reader, "stop_conditions.stop_token_ids_hidden");
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }
    }
}

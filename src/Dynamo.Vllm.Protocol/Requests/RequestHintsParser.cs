using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>What requests of every form carry beside what is asked for.</summary>
internal static class RequestHintsParser
{
    public static void ReadRouting(ref MessagePackReader reader, RoutingHints routing)
    {
        for (var left = RequestValues.MapHeader(ref reader, "routing"); left > 0; left--)
        {
            var key = reader.ReadStringBytes();
            if (reader.TryReadNil())
            {
                continue;
            }

            if (key.SequenceEqual("dp_rank"u8))
            {
                routing.DataParallelRank = RequestValues.Int32(ref reader, "routing.dp_rank");
            }
            else if (key.SequenceEqual("priority"u8))
            {
                routing.Priority = RequestValues.Int32(ref reader, "routing.priority");
            }
            else
            {
                reader.Skip();
            }
        }
    }

    public static string? ReadSessionId(ref MessagePackReader reader)
    {
        string? session = null;
        for (var left = RequestValues.MapHeader(ref reader, "agent_context"); left > 0; left--)
        {
            var key = reader.ReadStringBytes();
            if (key.SequenceEqual("session_id"u8) && reader.PeekType() == MessagePackType.String)
            {
                session = RequestValues.Text(ref reader, "agent_context.session_id").Trim();
            }
            else
            {
                reader.Skip();
            }
        }

        return string.IsNullOrEmpty(session) ? null : session;
    }

    public static string[] ReadTexts(ref MessagePackReader reader, string field)
    {
        var texts = new string[RequestValues.ArrayHeader(ref reader, field)];
        for (var i = 0; i < texts.Length; i++)
        {
            texts[i] = RequestValues.Text(ref reader, field);
        }

        return texts;
    }
}

using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Engine.Direct;

/// <summary>Numbers by their names, as the engine's statistics have them.</summary>
internal static class NamedNumbers
{
    /// <summary>The value of a name, if it is a whole number; any other is passed over.</summary>
    public static long? ReadOrSkip(ref MessagePackReader reader)
    {
        if (reader.PeekType() == MessagePackType.Integer)
        {
            return reader.ReadInt64();
        }

        reader.Skip();
        return null;
    }
}

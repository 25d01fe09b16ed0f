using System.Globalization;
using Dynamo.Vllm.Core;

namespace Dynamo.Vllm.Testing;

/// <summary>Ids in a row, the same in every run.</summary>
public sealed class CountedIds : IIdSource
{
    private int _last;

    public string Next() => new Guid(Interlocked.Increment(ref _last), 0, 0, new byte[8]).ToString("D", CultureInfo.InvariantCulture);
}

using System.Buffers;
using BenchmarkDotNet.Attributes;
using Dynamo.Vllm.Protocol.Responses;

namespace Dynamo.Vllm.Benchmarks;

/// <summary>One response item of a generating request: the most frequent frame of all.</summary>
[MemoryDiagnoser]
public class TokenItemBenchmarks
{
    private readonly ArrayBufferWriter<byte> _output = new(256);
    private readonly TokenDelta _delta = new() { TokenIds = new[] { 45_123 } };

    [Benchmark]
    public int EncodeToken()
    {
        _output.ResetWrittenCount();
        ResponseEncoder.WriteDelta(_output, _delta);
        return _output.WrittenCount;
    }
}

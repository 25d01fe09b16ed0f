using BenchmarkDotNet.Running;
using Dynamo.Vllm.Benchmarks;

BenchmarkSwitcher.FromAssembly(typeof(BlockConversionBenchmarks).Assembly).Run(args);

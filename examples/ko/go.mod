module example.com/ko

go 1.26

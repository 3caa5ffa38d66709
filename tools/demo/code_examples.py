"""Small Python functions: what they do (as the question says it) and their text."""

CODE = """adds two numbers
def add(a, b):
    return a + b
~
subtracts two numbers
def subtract(a, b):
    return a - b
~
multiplies two numbers
def multiply(a, b):
    return a * b
~
divides two numbers
def divide(a, b):
    return a / b
~
returns the larger of two numbers
def larger(a, b):
    if a > b:
        return a
    return b
~
returns the smaller of two numbers
def smaller(a, b):
    if a < b:
        return a
    return b
~
computes the factorial of n
def factorial(n):
    result = 1
    for i in range(2, n + 1):
        result = result * i
    return result
~
returns the n-th Fibonacci number
def fibonacci(n):
    a, b = 0, 1
    for i in range(n):
        a, b = b, a + b
    return a
~
checks whether a number is even
def is_even(n):
    return n % 2 == 0
~
checks whether a number is odd
def is_odd(n):
    return n % 2 == 1
~
checks whether a number is prime
def is_prime(n):
    if n < 2:
        return False
    for i in range(2, n):
        if n % i == 0:
            return False
    return True
~
reverses a string
def reverse(text):
    return text[::-1]
~
checks whether a string is a palindrome
def is_palindrome(text):
    return text == text[::-1]
~
counts the vowels in a string
def count_vowels(text):
    count = 0
    for c in text:
        if c in "aeiou":
            count = count + 1
    return count
~
counts the words in a string
def count_words(text):
    return len(text.split())
~
returns the length of a string
def length(text):
    return len(text)
~
returns the first character of a string
def first(text):
    return text[0]
~
returns the last character of a string
def last(text):
    return text[-1]
~
makes a string upper case
def upper(text):
    return text.upper()
~
makes a string lower case
def lower(text):
    return text.lower()
~
sums a list of numbers
def total(numbers):
    result = 0
    for n in numbers:
        result = result + n
    return result
~
returns the average of a list
def average(numbers):
    return sum(numbers) / len(numbers)
~
returns the largest number of a list
def largest(numbers):
    best = numbers[0]
    for n in numbers:
        if n > best:
            best = n
    return best
~
returns the smallest number of a list
def smallest(numbers):
    best = numbers[0]
    for n in numbers:
        if n < best:
            best = n
    return best
~
sorts a list
def sort(items):
    return sorted(items)
~
reverses a list
def reverse_list(items):
    return items[::-1]
~
removes duplicates from a list
def unique(items):
    result = []
    for x in items:
        if x not in result:
            result.append(x)
    return result
~
counts how often x is in a list
def count(items, x):
    result = 0
    for item in items:
        if item == x:
            result = result + 1
    return result
~
checks whether x is in a list
def contains(items, x):
    return x in items
~
returns the even numbers of a list
def evens(numbers):
    return [n for n in numbers if n % 2 == 0]
~
returns the odd numbers of a list
def odds(numbers):
    return [n for n in numbers if n % 2 == 1]
~
squares a number
def square(n):
    return n * n
~
cubes a number
def cube(n):
    return n * n * n
~
squares every number of a list
def squares(numbers):
    return [n * n for n in numbers]
~
doubles a number
def double(n):
    return 2 * n
~
halves a number
def half(n):
    return n / 2
~
returns the absolute value of a number
def absolute(n):
    if n < 0:
        return -n
    return n
~
computes the power of two numbers
def power(base, exponent):
    return base ** exponent
~
prints hello
def hello():
    print("Hello, world!")
~
prints the numbers from 1 to n
def print_numbers(n):
    for i in range(1, n + 1):
        print(i)
~
greets a person by name
def greet(name):
    return "Hello, " + name + "!"
~
converts Celsius to Fahrenheit
def to_fahrenheit(c):
    return c * 9 / 5 + 32
~
converts Fahrenheit to Celsius
def to_celsius(f):
    return (f - 32) * 5 / 9
~
computes the area of a rectangle
def area(width, height):
    return width * height
~
computes the area of a circle
def circle_area(radius):
    return 3.14159 * radius * radius
~
computes the area of a triangle
def triangle_area(base, height):
    return base * height / 2
~
computes the greatest common divisor of two numbers
def gcd(a, b):
    while b != 0:
        a, b = b, a % b
    return a
~
computes the least common multiple of two numbers
def lcm(a, b):
    x = a
    while x % b != 0:
        x = x + a
    return x
~
swaps two values
def swap(a, b):
    return b, a
~
joins a list of words
def join(words):
    return " ".join(words)
~
splits a string into words
def split(text):
    return text.split()
~
reads a file
def read_file(name):
    with open(name) as f:
        return f.read()
~
writes text to a file
def write_file(name, text):
    with open(name, "w") as f:
        f.write(text)
~
counts the lines of a file
def count_lines(name):
    with open(name) as f:
        return len(f.readlines())
~
sums the digits of a number
def digit_sum(n):
    result = 0
    while n > 0:
        result = result + n % 10
        n = n // 10
    return result
~
sums the numbers from 1 to n
def sum_to(n):
    return n * (n + 1) // 2
~
checks whether a year is a leap year
def is_leap(year):
    if year % 400 == 0:
        return True
    if year % 100 == 0:
        return False
    return year % 4 == 0
~
finds the position of x in a list
def find(items, x):
    for i in range(len(items)):
        if items[i] == x:
            return i
    return -1
~
searches a sorted list
def binary_search(items, x):
    low, high = 0, len(items)
    while low < high:
        mid = (low + high) // 2
        if items[mid] < x:
            low = mid + 1
        else:
            high = mid
    return low
~
merges two lists
def merge(a, b):
    return a + b
~
counts the letters in a string
def count_letters(text):
    result = {}
    for c in text:
        result[c] = result.get(c, 0) + 1
    return result
~
computes the dot product of two lists
def dot(a, b):
    return sum(x * y for x, y in zip(a, b))
~
counts down from n
def count_down(n):
    while n > 0:
        print(n)
        n = n - 1
~
returns the sign of a number
def sign(n):
    if n > 0:
        return 1
    if n < 0:
        return -1
    return 0
~
limits a number to a range
def clamp(n, low, high):
    return max(low, min(n, high))"""


def fill(book, rng):
    """Adds the functions."""
    for piece in CODE.split("\n~\n"):
        what, text = piece.split("\n", 1)
        compile(text, what, "exec")
        qs = [frame % what for frame in ("Write a Python function that %s.", "Write a Python function that %s",
                                         "Python function that %s:", "Write a function that %s in Python.")]
        book.add("code", qs, "```python\n%s\n```" % text, 18)
